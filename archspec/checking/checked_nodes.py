"""Checked nodes: a YAML tree after its keys, kinds, values and names were checked against the vocabulary.

A checked node may still read config values; `archc.archspec.binding.evaluation` evaluates it to sections.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from archc.archspec.checking.expressions import Expression
from archc.archspec.source.nodes import Mark
from archc.archspec.vocabulary import Section
from archc.archspec.vocabulary.schema import Schema, ValueSchema


@dataclass(frozen=True)
class Constant:
    """A literal of the spec, in canonical form."""

    value: object
    mark: Mark
    path: str


@dataclass(frozen=True)
class Computed:
    """An expression for a value or for a whole section."""

    expression: Expression
    schema: Schema
    mark: Mark
    path: str


@dataclass(frozen=True)
class LayerPattern:
    """A list of nodes that repeats over the layers: layer i has item i modulo the length."""

    items: tuple[CheckedNode, ...]
    mark: Mark
    path: str


@dataclass(frozen=True)
class ListValue:
    """A value that is itself a list, such as the parts of a split."""

    items: tuple[CheckedNode, ...]
    schema: ValueSchema
    mark: Mark
    path: str


@dataclass(frozen=True)
class CheckedSection:
    """A section: its class, and the checked node of each key in the spec."""

    section: type[Section]
    fields: Mapping[str, CheckedNode]
    mark: Mark
    path: str


CheckedNode = Constant | Computed | LayerPattern | ListValue | CheckedSection


def walk(node: CheckedNode) -> Iterator[CheckedNode]:
    """Yield the node and every node below it."""
    yield node
    if isinstance(node, CheckedSection):
        for child in node.fields.values():
            yield from walk(child)
    elif isinstance(node, LayerPattern | ListValue):
        for child in node.items:
            yield from walk(child)


def names_in(node: CheckedNode) -> frozenset[str]:
    """Return every name that an expression of the node reads."""
    return frozenset().union(*(part.expression.names for part in walk(node) if isinstance(part, Computed)))


def mark_at(node: CheckedNode, path: str) -> Mark:
    """Return the position of the value at `path`, or of the innermost section around it that is in the spec."""
    best = node
    for part in walk(node):
        contains_path = path == part.path or path.startswith((f"{part.path}.", f"{part.path}["))
        if contains_path and len(part.path) >= len(best.path):
            best = part
    return best.mark
