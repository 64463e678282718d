"""Names that expressions may read: the `config:` and `derive:` sections of a spec."""

from __future__ import annotations

import keyword
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from archc.archspec.checking.checker import LAYER_NAMES, Checker
from archc.archspec.checking.expressions import RESERVED, Expression, parse
from archc.archspec.checking.functions import ExpressionError
from archc.archspec.config.tensor_sizes import TensorSize, parse_size
from archc.archspec.errors import (
    Problem,
    SpecError,
    clip,
    closest_match,
    did_you_mean,
    format_list,
    format_value,
    join_hints,
)
from archc.archspec.source.config_entries import is_short
from archc.archspec.source.header import check_texts
from archc.archspec.source.nodes import MappingNode, Mark, Node, ScalarNode, is_null, join_path, to_python

BUILTIN_NAMES = ("architectures", "model_type")  # of every config.json, without a declaration

MAX_NAMES = 256  # defaults may read each other, as deep as there are names

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BARE_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_KEYS = ("default", "absent", "keys", "allowed", "shape")


@dataclass(frozen=True)
class ConfigName:
    """One entry of `config:`."""

    name: str
    mark: Mark
    keys: tuple[str, ...]  # keys of config.json with this meaning, the name itself first
    required: bool
    default: Expression | Any = None  # an Expression or a plain value
    default_mark: Mark | None = None
    allowed: tuple[Any, ...] = ()
    absent: Expression | Any = None  # default of a config without any of the keys, if null has another meaning
    sizes: tuple[TensorSize, ...] = ()  # sizes of tensors that a config without the keys may be completed from

    @property
    def dependencies(self) -> frozenset[str]:
        """Return the names that the defaults read."""
        return frozenset().union(*(item.names for item in (self.default, self.absent) if isinstance(item, Expression)))


@dataclass(frozen=True)
class DerivedName:
    """One entry of `derive:`."""

    name: str
    expression: Expression
    mark: Mark

    @property
    def per_layer(self) -> bool:
        """Return whether the name has a value for each layer: it reads `layer` or `layers`, or a name that does."""
        return not self.expression.names.isdisjoint(LAYER_NAMES)


@dataclass(frozen=True)
class Names:
    """Every name that a spec declares."""

    config: Mapping[str, ConfigName]
    derived: Mapping[str, DerivedName]

    @property
    def all(self) -> tuple[str, ...]:
        """Return the names that expressions of the spec may read."""
        return (*self.config, *self.derived, *BUILTIN_NAMES)

    @property
    def per_layer(self) -> frozenset[str]:
        """Return the derived names with a value for each layer."""
        return frozenset(name for name, derived in self.derived.items() if derived.per_layer)

    def checker(self, problems: list[Problem]) -> Checker:
        """Return a checker of expressions over these names, which appends problems to `problems`."""
        return Checker(self.all, problems, self.per_layer)

    def closure(self, names: Collection[str]) -> frozenset[str]:
        """Return the names, and all names that their defaults and derivations read."""
        closure: set[str] = set()
        pending = list(names)
        while pending:
            name = pending.pop()
            if name in closure:
                continue
            closure.add(name)
            if name in self.config:
                pending += self.config[name].dependencies
            if name in self.derived:
                pending += self.derived[name].expression.names
        return frozenset(closure.difference(LAYER_NAMES))


def check_names(config: Node | None, derive: Node | None, problems: list[Problem]) -> Names:
    """Return the names of the two sections; append problems to `problems`."""
    entries = _entries(config, "config", problems)
    derivations = _entries(derive, "derive", problems)
    names: dict[str, ConfigName] = {}
    for name, (node, mark) in entries.items():
        names[name] = _config_name(name, node, mark, entries, problems)
    _report_cycles(names, problems)
    derived: dict[str, DerivedName] = {}
    for name, (node, mark) in derivations.items():
        path = join_path("derive", name)
        if name in names:
            problems.append(mark.problem(path, f"'{name}' is also declared in `config:`", "rename one of them"))
        value = node.value if isinstance(node, ScalarNode) else None
        if value is None or isinstance(value, bool):
            problems.append(node.mark.problem(path, "expected an expression"))
            continue
        checker = Names(names, derived).checker(problems)
        expression = checker.expression(str(value), node.mark, path, per_layer=True)
        derived[name] = DerivedName(name, expression if expression is not None else parse("none"), node.mark)
    return Names(names, derived)


def _entries(node: Node | None, section: str, problems: list[Problem]) -> dict[str, tuple[Node, Mark]]:
    """Return the nodes and positions of a section's entries with valid names."""
    if node is None or is_null(node):
        return {}
    if not isinstance(node, MappingNode):
        problems.append(node.mark.problem(section, "expected a mapping of names"))
        return {}
    if len(node.entries) > MAX_NAMES:
        raise SpecError([*problems, node.mark.problem(section, f"more than {MAX_NAMES} names")])
    entries = {}
    for name, child in node.entries.items():
        mark = node.key_marks[name]
        if not _NAME.fullmatch(name) or keyword.iskeyword(name):
            hint = "use another name, and list the key of config.json under `keys:`" if section == "config" else ""
            message = f"{format_value(name)} is not a valid name in expressions"
            problems.append(mark.problem(join_path(section, name), message, hint))
        elif name in RESERVED or name in BUILTIN_NAMES:
            message = f"'{name}' is reserved"
            problems.append(mark.problem(join_path(section, name), message, "use another name"))
        else:
            entries[name] = (child, mark)
    return entries


def _config_name(name: str, node: Node, mark: Mark, known: Collection[str], problems: list[Problem]) -> ConfigName:
    path = join_path("config", name)
    if is_null(node):
        return ConfigName(name, mark, (name,), required=True)
    assert isinstance(node, MappingNode)  # the short form is written in full
    for key in node.entries:
        if key not in _KEYS:
            hint = join_hints(did_you_mean(key, _KEYS), f"allowed: {format_list(_KEYS)}")
            problems.append(node.key_marks[key].problem(join_path(path, key), f"unknown key '{clip(key)}'", hint))
    keys = tuple(dict.fromkeys((name, *_list(node.get("keys"), join_path(path, "keys"), str, problems))))
    allowed = tuple(_list(node.get("allowed"), join_path(path, "allowed"), object, problems))
    sizes = _tensor_sizes(node.get("shape"), join_path(path, "shape"), problems)
    default, absent = node.get("default"), node.get("absent")
    absent_value = _default_value(absent, known, join_path(path, "absent"), problems) if absent is not None else None
    if absent is not None and (default is None or absent_value is None):
        message = "`absent` requires a `default`, and a value other than null"
        hint = "`default` is the value of null, `absent` the value without the key"
        problems.append(absent.mark.problem(join_path(path, "absent"), message, hint))
    if default is None:
        return ConfigName(name, mark, keys, True, allowed=allowed, sizes=sizes)
    default_path = path if is_short(node) else join_path(path, "default")
    value = _default_value(default, known, default_path, problems)
    if not isinstance(value, Expression):
        _check_allowed(value, allowed, default.mark, default_path, problems)
    if absent_value is not None and not isinstance(absent_value, Expression):
        _check_allowed(absent_value, allowed, node.key_marks["absent"], join_path(path, "absent"), problems)
    return ConfigName(name, mark, keys, False, value, default.mark, allowed, absent_value, sizes)


def _check_allowed(value: object, allowed: tuple[Any, ...], mark: Mark, path: str, problems: list[Problem]) -> None:
    if allowed and not is_among(value, allowed):
        message = f"{format_value(value)} is not among the allowed values"
        problems.append(mark.problem(path, message, f"allowed: {format_list(map(format_value, allowed))}"))


def _list(node: Node | None, path: str, item: type, problems: list[Problem]) -> list[Any]:
    if node is None:
        return []
    values = to_python(node)
    if not isinstance(values, list) or not values or not all(isinstance(value, item) for value in values):
        problems.append(node.mark.problem(path, f"expected a list of {'texts' if item is str else 'values'}"))
        return []
    return values


def _tensor_sizes(node: Node | None, path: str, problems: list[Problem]) -> tuple[TensorSize, ...]:
    sizes = []
    for text in check_texts(node, path, problems):
        size = parse_size(text)
        if size is None and node is not None:
            hint = "write tensor[axis], such as emb.weight[0], or a name with {layer} for the number of layers"
            problems.append(node.mark.problem(path, f"{format_value(text)} is not a size of a tensor", hint))
        sizes += [size] if size is not None else []
    return tuple(sizes)


def _default_value(node: Node, known: Collection[str], path: str, problems: list[Problem]) -> Any:
    """Return a default as a plain value or an Expression. A bare word that resembles no name is a string."""
    if not isinstance(node, ScalarNode) or not isinstance(node.value, str):
        return to_python(node)
    text = node.value
    names = [*known, *BUILTIN_NAMES]
    try:
        expression = parse(text)
        if not expression.names:
            return expression.evaluate({})
        if expression.names <= set(names):
            return expression
    except ExpressionError as error:
        if not _BARE_WORD.fullmatch(text):
            problems.append(node.mark.problem(path, f"{format_value(text)}: {error}", error.hint))
            return None
    match = closest_match(text, names)
    if _BARE_WORD.fullmatch(text) and match is None:
        return text
    if _BARE_WORD.fullmatch(text):
        hint = f"did you mean '{match}'? For the string, write \"'{clip(text)}'\""
        problems.append(node.mark.problem(path, f"unknown name '{clip(text)}'", hint))
        return None
    Checker(names, problems).expression(text, node.mark, path)
    return None


def _report_cycles(names: Mapping[str, ConfigName], problems: list[Problem]) -> None:
    visited: set[str] = set()
    for start in names:
        for cycle in _cycles(start, names, [], visited):
            mark = names[cycle[0]].default_mark or names[cycle[0]].mark
            message = f"the defaults form a cycle: {' → '.join(cycle)}"
            problems.append(mark.problem(join_path("config", cycle[0]), message, "use a literal in one of them"))


def _cycles(name: str, names: Mapping[str, ConfigName], trail: list[str], visited: set[str]) -> Iterator[list[str]]:
    if name in trail:
        yield [*trail[trail.index(name) :], name]
        return
    if name in visited or name not in names:
        return
    trail.append(name)
    for dependency in sorted(names[name].dependencies):
        yield from _cycles(dependency, names, trail, visited)
    trail.pop()
    visited.add(name)


def is_same(a: object, b: object) -> bool:
    """Return whether two values are equal; true and 1 are not."""
    return isinstance(a, bool) is isinstance(b, bool) and a == b


def is_among(value: object, allowed: Collection[object]) -> bool:
    """Return whether a value is one of the allowed values."""
    return any(is_same(value, item) for item in allowed)
