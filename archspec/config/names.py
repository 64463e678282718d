"""The names that a spec reads from config.json: the `config:` and `derive:` sections."""

from __future__ import annotations

import keyword
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from archc.archspec.checking.checker import Checker
from archc.archspec.checking.expressions import RESERVED, Expression, ExpressionError, parse
from archc.archspec.errors import Problem, SpecError, clipped, did_you_mean, hints, listed, nearest, shown
from archc.archspec.source.yaml_tree import Items, Mark, Node, Scalar, Table, join, to_python

# Always there for expressions: what a config.json says of itself.
GIVEN = ("architectures", "model_type")

MAX_NAMES = 256  # defaults may refer to each other, as deep as there are names

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_KEYS = ("default", "absent", "keys", "allowed")


@dataclass(frozen=True)
class ConfigName:
    """One entry of `config:`; `default` is an Expression, a plain value, or None where the key is required.

    `absent` is a plain value for a config without the key, where a null means something else; None where it does not.
    """

    name: str
    mark: Mark
    keys: tuple[str, ...]
    required: bool
    default: Expression | Any = None
    default_mark: Mark | None = None
    allowed: tuple[Any, ...] = ()
    absent: Any = None


@dataclass(frozen=True)
class Derived:
    """One entry of `derive:`."""

    name: str
    expression: Expression
    mark: Mark


@dataclass(frozen=True)
class Names:
    """Every name that a spec declares."""

    config: Mapping[str, ConfigName]
    derived: Mapping[str, Derived]

    @property
    def all(self) -> tuple[str, ...]:
        """What expressions of the spec may read."""
        return (*self.config, *self.derived, *GIVEN)

    def needed(self, names: Collection[str]) -> frozenset[str]:
        """The names, and those that their defaults and derivations read."""
        found: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name in found:
                continue
            found.add(name)
            default = self.config[name].default if name in self.config else None
            if isinstance(default, Expression):
                waiting += default.names
            if name in self.derived:
                waiting += self.derived[name].expression.names
        return frozenset(found)


def check_names(config: Node | None, derive: Node | None, problems: list[Problem]) -> Names:
    """The names of the two sections; faults go to `problems`."""
    entries = _entries(config, "config", problems)
    derivations = _entries(derive, "derive", problems)
    names: dict[str, ConfigName] = {}
    for name, (node, mark) in entries.items():
        names[name] = _config_name(name, node, mark, entries, problems)
    _find_cycles(names, problems)
    derived: dict[str, Derived] = {}
    for name, (node, mark) in derivations.items():
        if name in names:
            problems.append(mark.problem(join("derive", name), f"'{name}' is also a config name", "rename one of them"))
        known = (*names, *derived, *GIVEN)
        text = node.value if isinstance(node, Scalar) else None
        if isinstance(node, Items | Table) or text is None or isinstance(text, bool):
            problems.append(node.mark.problem(join("derive", name), "an expression is expected"))
            continue
        expression = Checker(known, problems).expression(str(text), node.mark, join("derive", name))
        if expression is not None:
            derived[name] = Derived(name, expression, node.mark)
        else:
            derived[name] = Derived(name, parse("none"), node.mark)
    return Names(names, derived)


def _entries(node: Node | None, section: str, problems: list[Problem]) -> dict[str, tuple[Node, Mark]]:
    if node is None or (isinstance(node, Scalar) and node.value is None):
        return {}
    if not isinstance(node, Table):
        problems.append(node.mark.problem(section, "a mapping of names is expected"))
        return {}
    found = {}
    if len(node.entries) > MAX_NAMES:
        raise SpecError([*problems, node.mark.problem(section, f"more than {MAX_NAMES} names")])
    for name, child in node.entries.items():
        mark = node.keys[name]
        if not _NAME.fullmatch(name) or keyword.iskeyword(name):
            hint = "name it otherwise, and give the key of config.json as `keys:`" if section == "config" else ""
            problems.append(mark.problem(join(section, name), f"{shown(name)} cannot be used in expressions", hint))
        elif name in RESERVED or name in GIVEN:
            problems.append(mark.problem(join(section, name), f"'{name}' is a word of the language itself"))
        else:
            found[name] = (child, mark)
    return found


def _config_name(name: str, node: Node, mark: Mark, known: Collection[str], problems: list[Problem]) -> ConfigName:
    path = join("config", name)
    if isinstance(node, Scalar) and node.value is None:
        return ConfigName(name, mark, (name,), required=True)
    if not isinstance(node, Table):
        hint = f"write {name}: {{default: {clipped(str(to_python(node)))}}}"
        problems.append(node.mark.problem(path, "nothing, or a mapping, is expected", hint))
        return ConfigName(name, mark, (name,), required=False)
    for key in node.entries:
        if key not in _KEYS:
            hint = hints(did_you_mean(key, _KEYS), f"allowed: {listed(_KEYS)}")
            problems.append(node.keys[key].problem(join(path, key), f"unknown key '{clipped(key)}'", hint))
    keys = tuple(dict.fromkeys((name, *_list(node.get("keys"), join(path, "keys"), str, problems))))
    allowed = tuple(_list(node.get("allowed"), join(path, "allowed"), object, problems))
    default, absent = node.get("default"), node.get("absent")
    if absent is not None and (default is None or to_python(absent) is None):
        hint = "`default` says what null means, `absent` what it is without the key"
        problems.append(absent.mark.problem(join(path, "absent"), "a value beside a default is expected", hint))
    if default is None:
        return ConfigName(name, mark, keys, True, allowed=allowed)
    value = _default_value(default, name, known, join(path, "default"), problems)
    if allowed and not isinstance(value, Expression) and not among(value, allowed):
        message = f"{shown(value)} is not among the allowed values {listed(map(shown, allowed))}"
        problems.append(default.mark.problem(join(path, "default"), message))
    missing = to_python(absent) if absent is not None else None
    if allowed and missing is not None and not among(missing, allowed):
        message = f"{shown(missing)} is not among the allowed values {listed(map(shown, allowed))}"
        problems.append(node.keys["absent"].problem(join(path, "absent"), message))
    return ConfigName(name, mark, keys, False, value, default.mark, allowed, missing)


def _list(node: Node | None, path: str, item: type, problems: list[Problem]) -> list[Any]:
    if node is None:
        return []
    values = to_python(node)
    if not isinstance(values, list) or not values or not all(isinstance(value, item) for value in values):
        problems.append(node.mark.problem(path, f"a list of {'texts' if item is str else 'values'} is expected"))
        return []
    return values


def _default_value(node: Node, name: str, known: Collection[str], path: str, problems: list[Problem]) -> Any:
    """A default as a plain value or as an Expression. A single word that no name resembles is text."""
    if not isinstance(node, Scalar) or not isinstance(node.value, str):
        return to_python(node)
    text = node.value
    names = [*known, *GIVEN]
    try:
        expression = parse(text)
        if not expression.names:
            return expression.evaluate({})
        if expression.names <= set(names):
            return expression
    except ExpressionError as error:
        if not _WORD.fullmatch(text):
            problems.append(node.mark.problem(path, f"{shown(text)}: {error}", error.hint))
            return None
    near = nearest(text, names)
    if _WORD.fullmatch(text) and near is None:
        return text
    if _WORD.fullmatch(text):
        hint = f"did you mean '{near}'? text is written \"'{clipped(text)}'\""
        problems.append(node.mark.problem(path, f"the name '{clipped(text)}' is not known", hint))
        return None
    Checker(names, problems).expression(text, node.mark, path)
    return None


def _find_cycles(names: Mapping[str, ConfigName], problems: list[Problem]) -> None:
    done: set[str] = set()
    for start in names:
        trail: list[str] = []
        for loop in _loops(start, names, trail, done):
            mark = names[loop[0]].default_mark or names[loop[0]].mark
            message = f"the defaults go round in a circle: {' → '.join(loop)}"
            problems.append(mark.problem(f"config.{loop[0]}.default", message))


def _loops(name: str, names: Mapping[str, ConfigName], trail: list[str], done: set[str]) -> Iterator[list[str]]:
    if name in trail:
        yield [*trail[trail.index(name) :], name]
        return
    if name in done or name not in names:
        return
    trail.append(name)
    default = names[name].default
    for read in sorted(default.names) if isinstance(default, Expression) else ():
        yield from _loops(read, names, trail, done)
    trail.pop()
    done.add(name)


def same(a: object, b: object) -> bool:
    """Equality that does not take true for 1."""
    return isinstance(a, bool) is isinstance(b, bool) and a == b


def among(value: object, allowed: Collection[object]) -> bool:
    """Whether a value is one of those that are allowed."""
    return any(same(value, item) for item in allowed)
