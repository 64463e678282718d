"""How a model is shown: a tree of modules, and tables. Works on names and shapes, and never prints."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from archc.cli.console import columns

_PARAMETERS = ("weight", "bias")


@dataclass(frozen=True)
class Row:
    """One tensor: a model's slot, or what a plan stores of it; `source` is where a checkpoint has it."""

    name: str
    shape: tuple[int, ...]
    dtype: str | None = None
    source: str | None = None

    @property
    def count(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    @property
    def module(self) -> str:
        """The module that it belongs to."""
        parts = self.name.split(".")
        owned = next((i for i, part in enumerate(parts) if i and part in _PARAMETERS), len(parts) - 1)
        return ".".join(parts[:owned])


@dataclass
class Node:
    """A module, the tensors that are its own, and the modules inside it."""

    path: str = ""
    rows: list[Row] = field(default_factory=list)
    inside: dict[str, Node] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many numbers it has, with those of the modules inside."""
        return sum(row.count for row in self.rows) + sum(node.count for node in self.inside.values())

    def signature(self) -> object:
        """What makes two modules alike: the names, shapes and dtypes of all that they hold."""
        own = [(row.name[len(self.path) :], row.shape, row.dtype) for row in self.rows]
        return own, [(name, node.signature()) for name, node in self.inside.items()]


def module_tree(rows: Iterable[Row]) -> Node:
    """The modules that tensors' names speak of, in a model's order: embedding, layers by number, the rest."""
    root = Node()
    for row in rows:
        node = root
        for part in row.module.split("."):
            path = f"{node.path}.{part}" if node.path else part
            node = node.inside.setdefault(part, Node(path))
        node.rows.append(row)
    _sort(root, ("embedding", "encoder", "relative_bias", "layers", "final_norm", "head", "pooler"))
    for stack in (root, root.inside.get("encoder", Node())):
        layers = stack.inside.get("layers")
        if layers is not None and all(name.isdecimal() for name in layers.inside):
            layers.inside = dict(sorted(layers.inside.items(), key=lambda item: int(item[0])))
    return root


def _sort(node: Node, order: Sequence[str]) -> None:
    items = node.inside.items()
    node.inside = dict(sorted(items, key=lambda item: order.index(item[0]) if item[0] in order else len(order)))


def tree_lines(root: Node, words: Mapping[str, str]) -> list[str]:
    """The tree as text: name, parameters, and what `words` says of the module at that path; like layers are folded."""
    shown = [*_shown(root, words, "")]
    return columns(None, [(name, f"{count:,}", text) for name, count, text in shown], right=(1,))


def _shown(node: Node, words: Mapping[str, str], indent: str) -> Iterable[tuple[str, int, str]]:
    groups = _folded(node, words)
    for index, (name, inner, alike) in enumerate(groups):
        last = index == len(groups) - 1
        shapes = ", ".join(f"{row.name[len(inner.path) + 1 :]} {list(row.shape)}" for row in inner.rows)
        each = f"each of {alike} alike" if alike > 1 else ""
        text = "; ".join(part for part in (each, words.get(inner.path, ""), shapes) if part)
        yield f"{indent}{'└─ ' if last else '├─ '}{name}", inner.count, text
        yield from _shown(inner, words, indent + ("   " if last else "│  "))


def _folded(node: Node, words: Mapping[str, str]) -> list[tuple[str, Node, int]]:
    """The modules inside, runs of like layers or experts as one: name, module, how many."""
    folded: list[tuple[str, Node, int]] = []
    for name, inner in node.inside.items():
        if inner.inside and all(part.isdecimal() for part in inner.inside):
            runs: list[list[Node]] = []
            for layer in inner.inside.values():
                if runs and _kind(runs[-1][0], words) == _kind(layer, words):
                    runs[-1].append(layer)
                else:
                    runs.append([layer])
            for run in runs:
                first, last = (layer.path.rpartition(".")[2] for layer in (run[0], run[-1]))
                label = f"{name}.{first}" if len(run) == 1 else f"{name}.{first}-{last}"
                folded.append((label, run[0], len(run)))
        else:
            folded.append((name, inner, 1))
    return folded


def _kind(layer: Node, words: Mapping[str, str]) -> object:
    said = [(path[len(layer.path) :], text) for path, text in words.items() if f"{path}.".startswith(f"{layer.path}.")]
    return layer.signature(), said


def describe(word: BaseModel, without: Collection[str] = ()) -> str:
    """A word of a spec on one line: its kind, and each value that is not its default, but for those of `without`."""
    parts = [str(kind)] if (kind := getattr(word, "kind", None)) is not None else []
    for name, info in type(word).model_fields.items():
        value = getattr(word, name)
        if (
            name == "kind"
            or name in without
            or (not info.is_required() and value == info.get_default(call_default_factory=True))
        ):
            continue
        parts.append(f"{name} ({describe(value)})" if isinstance(value, BaseModel) else f"{name} {_shown_value(value)}")
    return ", ".join(parts)


def _shown_value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)


def tensor_table(rows: Sequence[Row]) -> list[str]:
    """A line for every tensor, and a total."""
    header, fields = (
        ["TENSOR", "SHAPE", "COUNT"],
        [lambda r: r.name, lambda r: _shape(r.shape), lambda r: f"{r.count:,}"],
    )
    if any(row.dtype is not None for row in rows):
        header.append("DTYPE")
        fields.append(lambda r: r.dtype or "")
    if any(row.source is not None for row in rows):
        header.append("CHECKPOINT")
        fields.append(lambda r: r.source or "")
    total = [f"{len(rows)} tensors", "", f"{sum(row.count for row in rows):,}", *[""] * (len(header) - 3)]
    return columns(header, [*([get(row) for get in fields] for row in rows), total], right=(2,))


def _shape(shape: Sequence[Any]) -> str:
    return "[" + ", ".join(map(str, shape)) + "]"
