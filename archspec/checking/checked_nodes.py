"""A checked section: what a raw YAML tree becomes once every key, kind and name in it is known to be right.

A form still waits for config values; `archc.archspec.binding.binding` turns it into words of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from archc.archspec.checking.expressions import Expression
from archc.archspec.checking.word_schema import Shape
from archc.archspec.source.yaml_tree import Mark
from archc.archspec.vocabulary import Word


@dataclass(frozen=True)
class Constant:
    """A value that stands in the spec itself, in its canonical form."""

    value: object
    mark: Mark
    path: str


@dataclass(frozen=True)
class Computed:
    """A leaf, or a whole section, that an expression gives."""

    expression: Expression
    shape: Shape
    mark: Mark
    path: str


@dataclass(frozen=True)
class Pattern:
    """Forms that repeat over the layers."""

    items: tuple[Form, ...]
    mark: Mark
    path: str


@dataclass(frozen=True)
class Row:
    """A list that is itself the value."""

    items: tuple[Form, ...]
    shape: Shape
    mark: Mark
    path: str


@dataclass(frozen=True)
class Group:
    """A section: its class, and the form of each key that is given."""

    word: type[Word]
    fields: Mapping[str, Form]
    mark: Mark
    path: str


Form = Constant | Computed | Pattern | Row | Group


def walk_forms(form: Form) -> Iterator[Form]:
    """The form and everything below it."""
    yield form
    if isinstance(form, Group):
        for child in form.fields.values():
            yield from walk_forms(child)
    elif isinstance(form, Pattern | Row):
        for child in form.items:
            yield from walk_forms(child)


def names_read(form: Form) -> frozenset[str]:
    """Every name that an expression of the form reads."""
    computed = (part.expression.names for part in walk_forms(form) if isinstance(part, Computed))
    return frozenset().union(*computed)


def place_of(form: Form, path: str) -> Mark:
    """Where the value at a path stands, or the nearest thing around it that is written down."""
    best = form
    for part in walk_forms(form):
        inside = path == part.path or path.startswith((f"{part.path}.", f"{part.path}["))
        if inside and len(part.path) >= len(best.path):
            best = part
    return best.mark
