"""The difference of two specs, path by path."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from archc.authoring.trees import Trees, renamed
from archc.layer_ranges import format_ranges

Part = Literal["computation", "config", "weights", "checkpoint"]
_NAME = re.compile(r"[A-Za-z_]\w*")
_LAYER = re.compile(r"(encoder\.)?layers\.(\d+)\.?(.*)")


@dataclass(frozen=True)
class Change:
    """One value that differs; None stands for an absent one."""

    part: Part
    path: str
    a: Any
    b: Any
    note: str = ""


def compare(a: Trees, b: Trees) -> list[Change]:
    """Return the differences of two specs, those of the computation first.

    A config name of `b` that stands in the place of one of `a`, and of no other, counts as another spelling of it: such
    a pair is a difference of the config, and none of the computation.
    """
    spellings = _spellings(a, b)
    b = renamed(b, spellings)
    notes = {**b.help, **a.help}
    changes = [Change("computation", path, x, y, notes.get(path, "")) for path, x, y in _walk(a.sections, b.sections)]
    changes = list(_join_layers(changes))
    changes += [Change("config", new, new, old, "other spelling of the key") for old, new in spellings.items()]
    changes += [Change("config", path, x, y) for path, x, y in _flat(a.config, b.config)]
    return changes + [Change("weights", path, x, y) for path, x, y in _flat(a.weights, b.weights)]


def format_value(value: Any) -> str:
    """Return a value on one line, in the form of YAML."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {format_value(item)}' for key, item in value.items() if item is not None)}}}"
    if isinstance(value, list | tuple):
        return format_value(value[0]) if len(value) == 1 else f"[{', '.join(map(format_value, value))}]"
    return str(value)


def _walk(a: Mapping[str, Any], b: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield path and values of each difference; of sections of two kinds, the whole section."""
    for key in dict.fromkeys((*a, *b)):
        x, y = a.get(key), b.get(key)
        inner = f"{path}.{key}" if path else key
        if isinstance(x, Mapping) and isinstance(y, Mapping) and x.get("kind") == y.get("kind"):
            yield from _walk(x, y, inner)
        elif not _equal(x, y):
            yield inner, x, y


def _flat(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for key in dict.fromkeys((*a, *b)):
        if not _equal(a.get(key), b.get(key)):
            yield key, a.get(key), b.get(key)


def _equal(a: object, b: object) -> bool:
    """Return whether two values are equal; none, and a section of the kind none, are the same."""
    a, b = _plain(a), _plain(b)
    return a == b and isinstance(a, bool) is isinstance(b, bool)


def _plain(value: object) -> object:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if value == "none" or (isinstance(value, Mapping) and value.get("kind") == "none") else value


def _spellings(a: Trees, b: Trees) -> dict[str, str]:
    """Return the names of `b` that stand for one other name of `a`, each with it."""
    forth: dict[str, set[str]] = {}
    back: dict[str, set[str]] = {}
    for x, y in _leaves(a.sections, b.sections):
        if x in a.config and y in b.config:
            forth.setdefault(x, set()).add(y)
            back.setdefault(y, set()).add(x)
    pairs = {y: next(iter(xs)) for y, xs in back.items() if len(xs) == 1 and len(forth[next(iter(xs))]) == 1}
    return {y: x for y, x in pairs.items() if x != y and y not in a.config and x not in b.config}


def _leaves(a: Any, b: Any) -> Iterator[tuple[str, str]]:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in a.keys() & b.keys():
            yield from _leaves(a[key], b[key])
    elif isinstance(a, str) and isinstance(b, str) and _NAME.fullmatch(a) and _NAME.fullmatch(b):
        yield a, b


def _join_layers(changes: list[Change]) -> Iterator[Change]:
    """Yield the changes with the same one of several layers joined: `layers[0-2, 4].attention.window`."""

    def key(change: Change) -> tuple[str, str, str]:
        match = _LAYER.fullmatch(change.path)
        return (f"{match[1] or ''}layers", match[3], repr((change.a, change.b))) if match else ("", change.path, "")

    order: dict[tuple[str, str, str], list[Change]] = {}
    for change in changes:
        order.setdefault(key(change), []).append(change)
    for (stack, rest, _), group in order.items():
        first = group[0]
        if not stack:
            yield from group
            continue
        numbers = [int(match[2]) for change in group if (match := _LAYER.fullmatch(change.path))]
        path = f"{stack}[{format_ranges(numbers)}]" + (f".{rest}" if rest else "")
        yield Change(first.part, path, first.a, first.b, first.note)
