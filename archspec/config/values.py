"""The values that a config.json, its defaults and derivations give to the names of a spec."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from archc.archspec.checking.expressions import Expression, ExpressionError
from archc.archspec.config.names import GIVEN, ConfigName, Names, among, same
from archc.archspec.errors import Problem, did_you_mean, listed, shown
from archc.archspec.source.yaml_tree import Mark, join


@dataclass
class Values:
    """The values of a spec's names for one config: each with the place that it comes from."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)  # required, and not in the config
    broken: set[str] = field(default_factory=set)  # a problem with their value was reported


def evaluate_names(
    names: Names, config: Mapping[str, Any], origin: str, overrides: Mapping[str, Any], problems: list[Problem]
) -> Values:
    """The value of every name. A missing or faulty one is noted in the result; faults go to `problems`."""
    result = Values()
    for given in GIVEN:
        result.values[given] = config.get(given)
        result.origins[given] = origin
    if result.values["architectures"] is None:
        result.values["architectures"] = []
    for entry in names.config.values():
        _look_up(entry, config, origin, overrides, result, problems)
    for entry in names.config.values():
        _default(entry, names, result, problems)
    for derived in names.derived.values():
        if not _unknown(derived.expression, result):
            _compute(derived.name, derived.expression, derived.mark, join("derive", derived.name), result, problems)
            result.origins[derived.name] = "derived"
        else:
            _blame(derived.name, derived.expression, result)
    return result


def value_at(config: Mapping[str, Any], key: str) -> Any:
    """What a config has under a key, in which a dot goes into a mapping; None where it has nothing."""
    value: Any = config
    for part in [key] if key in config else key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _is_there(config: Mapping[str, Any], key: str) -> bool:
    """Whether a config has the key at all, be it with a null."""
    outer, _, inner = key.rpartition(".")
    holder = value_at(config, outer) if outer else config
    return key in config or (isinstance(holder, Mapping) and inner in holder)


def explain(names: Collection[str], values: Values, layer: int | None = None) -> str:
    """Where the values of an expression come from, as a message says it."""
    origins: dict[str, list[str]] = {}
    for name in sorted(names & values.values.keys())[:6]:
        origins.setdefault(values.origins[name], []).append(f"{name} = {shown(values.values[name])}")
    parts = [f"{listed(pairs)} {_from(origin)}" for origin, pairs in origins.items()]
    if layer is not None:
        parts.append(f"layer = {layer}")
    return f"({listed(parts)})" if parts else ""


def origin_of(name: str, values: Values) -> str:
    """Where one value comes from, in brackets."""
    return f"({_from(values.origins[name])})"


def _from(origin: str) -> str:
    return origin if origin in ("by default", "derived") else f"from {origin}"


def _look_up(
    entry: ConfigName,
    config: Mapping[str, Any],
    origin: str,
    overrides: Mapping[str, Any],
    result: Values,
    problems: list[Problem],
) -> None:
    given = {key: value_at(config, key) for key in entry.keys}
    found = {key: value for key, value in given.items() if value is not None}
    first = next(iter(found.values()), None)
    if entry.name in overrides:
        result.values[entry.name] = overrides[entry.name]
        result.origins[entry.name] = "--set"
    elif not all(same(value, first) for value in found.values()):
        pairs = listed(f"{key} = {shown(value)}" for key, value in found.items())
        problems.append(Problem(origin, 0, 0, entry.name, f"{pairs} disagree", "they mean the same: keep one"))
        result.broken.add(entry.name)
        return
    elif found:
        result.values[entry.name] = first
        result.origins[entry.name] = origin
    elif entry.absent is not None and not any(_is_there(config, key) for key in entry.keys):
        result.values[entry.name] = entry.absent
        result.origins[entry.name] = "by default"
    else:
        return
    value = result.values[entry.name]
    if entry.allowed and not among(value, entry.allowed):
        message = f"{shown(value)} is not among the values that the spec knows: {listed(map(shown, entry.allowed))}"
        near = did_you_mean(value, [v for v in entry.allowed if isinstance(v, str)]) if isinstance(value, str) else ""
        problems.append(Problem(result.origins[entry.name], 0, 0, entry.name, message, near))
        result.broken.add(entry.name)


def _default(entry: ConfigName, names: Names, result: Values, problems: list[Problem]) -> None:
    if entry.name in result.values or entry.name in result.broken or entry.name in result.missing:
        return
    if entry.required:
        result.missing.add(entry.name)
        return
    result.origins[entry.name] = "by default"
    if not isinstance(entry.default, Expression):
        result.values[entry.name] = entry.default
        return
    for read in sorted(entry.default.names):
        if read in names.config:
            _default(names.config[read], names, result, problems)
    if _unknown(entry.default, result):
        _blame(entry.name, entry.default, result)
        return
    mark = entry.default_mark or entry.mark
    _compute(entry.name, entry.default, mark, f"config.{entry.name}.default", result, problems)


def _compute(name: str, expression: Expression, mark: Mark, path: str, result: Values, problems: list[Problem]) -> None:
    try:
        result.values[name] = expression.evaluate(result.values)
    except ExpressionError as error:
        message = f"{shown(expression.text)}: {error} {explain(expression.names, result)}"
        problems.append(mark.problem(path, message.rstrip(), error.hint))
        result.broken.add(name)


def _unknown(expression: Expression, result: Values) -> bool:
    return not expression.names <= result.values.keys() - result.broken


def _blame(name: str, expression: Expression, result: Values) -> None:
    """A value that cannot be computed because another is missing: only the other is worth a message."""
    (result.missing if expression.names & result.missing else result.broken).add(name)
