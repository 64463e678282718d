"""Values of a spec's names for one config: from config.json, from defaults, and derived."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from archc.archspec.checking.checker import LAYER_NAMES
from archc.archspec.checking.expressions import Expression
from archc.archspec.checking.functions import ExpressionError
from archc.archspec.config.names import BUILTIN_NAMES, ConfigName, DerivedName, Names, is_among, is_same
from archc.archspec.config.neutral_keys import is_off
from archc.archspec.errors import Problem, did_you_mean, format_list, format_value, join_hints
from archc.archspec.source.nodes import Mark, join_path

_DEFAULT, _DERIVED = "by default", "derived"


@dataclass
class Values:
    """The values of names, each with its origin: a file, a size, `--set`, a default or a derivation."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)  # required, and not in the config
    invalid: set[str] = field(default_factory=set)  # a problem of the value was reported
    per_layer: dict[str, DerivedName] = field(default_factory=dict)  # names with a value for each layer, in order

    def is_computed(self, name: str) -> bool:
        """Return whether the value comes from a default or a derivation, and so may depend on other values."""
        return self.origins.get(name) in (_DEFAULT, _DERIVED)


def evaluate_names(
    names: Names, config: Mapping[str, Any], origin: str, overrides: Mapping[str, Any], problems: list[Problem]
) -> Values:
    """Return the value of every name; missing and invalid ones are marked, and problems appended to `problems`."""
    result = Values()
    for name in BUILTIN_NAMES:
        result.values[name] = config.get(name)
        result.origins[name] = origin
    if result.values["architectures"] is None:
        result.values["architectures"] = []
    entries = {name: _without_keys(entry, config) for name, entry in names.config.items()}
    for entry in entries.values():
        _read_value(entry, config, origin, overrides, result, problems)
    for entry in entries.values():
        _apply_default(entry, entries, result, problems)
    for derived in names.derived.values():
        if derived.per_layer and _is_computable(derived.expression, result):
            result.per_layer[derived.name] = derived
            result.origins[derived.name] = _DERIVED
        elif _is_computable(derived.expression, result):
            path = join_path("derive", derived.name)
            _compute(derived.name, derived.expression, derived.mark, path, result, problems)
            result.origins[derived.name] = _DERIVED
        else:
            _propagate(derived.name, derived.expression, result)
    return result


def value_at(config: Mapping[str, Any], key: str) -> Any:
    """Return the value of a key, in which a dot descends into a mapping; None if there is none."""
    value: Any = config
    for part in [key] if key in config else key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _without_keys(entry: ConfigName, config: Mapping[str, Any]) -> ConfigName:
    """Return the entry with its default for a config without the keys, if this config has none of them."""
    if entry.absent is None or any(_contains(config, key) for key in entry.keys):
        return entry
    return replace(entry, default=entry.absent)


def _contains(config: Mapping[str, Any], key: str) -> bool:
    """Return whether a config contains the key, with null as its value or another one."""
    outer, _, inner = key.rpartition(".")
    parent = value_at(config, outer) if outer else config
    return key in config or (isinstance(parent, Mapping) and inner in parent)


def describe_values(
    names: Collection[str], values: Mapping[str, Any], origins: Mapping[str, str], layer: int | None = None
) -> str:
    """Return the values of names, of a layer's index, and their origins, as text in parentheses for a message."""
    by_origin: dict[str, list[str]] = {}
    for name in sorted(names & values.keys() & origins.keys())[:6]:
        by_origin.setdefault(origins[name], []).append(f"{name} = {format_value(values[name])}")
    parts = [f"{format_list(pairs)} {_from(origin)}" for origin, pairs in by_origin.items()]
    if layer is not None:
        parts.append(f"layer = {layer}")
    return f"({format_list(parts)})" if parts else ""


def describe_origin(name: str, values: Values) -> str:
    """Return the origin of one value as text in parentheses for a message."""
    return f"({_from(values.origins[name])})"


def _from(origin: str) -> str:
    return origin if origin in (_DEFAULT, _DERIVED) else f"from {origin}"


def _read_value(
    entry: ConfigName,
    config: Mapping[str, Any],
    origin: str,
    overrides: Mapping[str, Any],
    result: Values,
    problems: list[Problem],
) -> None:
    """Set the value of a name from an override or a key of the config."""
    by_key = {key: value for key in entry.keys if (value := value_at(config, key)) is not None}
    first = next(iter(by_key.values()), None)
    if entry.name in overrides:
        result.values[entry.name] = overrides[entry.name]
        result.origins[entry.name] = "--set"
    elif not all(is_same(value, first) for value in by_key.values()):
        pairs = format_list(f"{key} = {format_value(value)}" for key, value in by_key.items())
        hint = "the keys have the same meaning; keep one"
        problems.append(Problem(origin, 0, 0, entry.name, f"{pairs} disagree", hint))
        result.invalid.add(entry.name)
        return
    elif by_key:
        result.values[entry.name] = first
        result.origins[entry.name] = origin
    else:
        return
    value = result.values[entry.name]
    if entry.allowed and not is_among(value, entry.allowed):
        off = [item for item in entry.allowed if is_off(item)]
        if off and is_off(value):
            result.values[entry.name] = off[0]
            return
        texts = [item for item in entry.allowed if isinstance(item, str)]
        supported = f"supported: {format_list(map(format_value, entry.allowed))}"
        hint = join_hints(did_you_mean(value, texts) if isinstance(value, str) else "", supported)
        message = f"{format_value(value)} is not supported by the spec"
        problems.append(Problem(result.origins[entry.name], 0, 0, entry.name, message, hint))
        result.invalid.add(entry.name)


def _apply_default(
    entry: ConfigName, entries: Mapping[str, ConfigName], result: Values, problems: list[Problem]
) -> None:
    if entry.name in result.values or entry.name in result.invalid or entry.name in result.missing:
        return
    if entry.required:
        result.missing.add(entry.name)
        return
    result.origins[entry.name] = _DEFAULT
    if not isinstance(entry.default, Expression):
        result.values[entry.name] = entry.default
        return
    for dependency in sorted(entry.default.names):
        if dependency in entries:
            _apply_default(entries[dependency], entries, result, problems)
    if not _is_computable(entry.default, result):
        _propagate(entry.name, entry.default, result)
        return
    mark = entry.default_mark or entry.mark
    _compute(entry.name, entry.default, mark, join_path("config", entry.name), result, problems)


def _compute(name: str, expression: Expression, mark: Mark, path: str, result: Values, problems: list[Problem]) -> None:
    try:
        result.values[name] = expression.evaluate(result.values)
    except ExpressionError as error:
        inputs = describe_values(expression.names, result.values, result.origins)
        message = f"{format_value(expression.text)}: {error} {inputs}".rstrip()
        problems.append(mark.problem(path, message, error.hint))
        result.invalid.add(name)


def _is_computable(expression: Expression, result: Values) -> bool:
    known = result.values.keys() | result.per_layer.keys() | set(LAYER_NAMES)
    return expression.names <= known - result.invalid


def _propagate(name: str, expression: Expression, result: Values) -> None:
    """Mark a value as missing or invalid like those that it depends on, without a problem of its own."""
    (result.missing if expression.names & result.missing else result.invalid).add(name)
