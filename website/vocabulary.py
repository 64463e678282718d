"""Sections of the vocabulary that a bound spec has, with the chapters that describe them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from archc.archspec import BoundSpec
from archc.archspec.vocabulary import Layer, LayerLayout, Section
from archc.archspec.vocabulary.schema import kind_of
from website.places import DOCS

_HEADING = re.compile(r"^#{2,5} (`([\w.]+)`.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Word:
    """One section: its path in a spec, its kind, the keys that differ from their defaults, and its meaning."""

    path: str
    kind: str | None
    keys: tuple[str, ...]
    meaning: str
    anchor: str


def words_of(bound: BoundSpec) -> list[Word]:
    """Return the sections of a bound spec, those of all layers together, without sections at their defaults."""
    keys: dict[tuple[str, type[Section]], dict[str, None]] = {}
    for path, section in _sections(bound):
        keys.setdefault((path, type(section)), {}).update(dict.fromkeys(_changed(section)))
    return [
        Word(path, kind_of(section), tuple(names), " ".join((section.__doc__ or "").split()), anchor(path))
        for (path, section), names in keys.items()
        if (names if kind_of(section) is None else kind_of(section) != "none")
    ]


def anchor(path: str) -> str:
    """Return the heading on the vocabulary page of a section, or of the nearest section around it."""
    anchors = _anchors()
    path = path.removeprefix("encoder.")
    while path not in anchors:
        path, _, _ = path.rpartition(".")
    return anchors[path]


@cache
def _anchors() -> dict[str, str]:
    """Return the first heading of each section, as GitHub and the site write it in an address."""
    anchors: dict[str, str] = {}
    for heading, path in _HEADING.findall((DOCS / "vocabulary.md").read_text("utf-8")):
        anchors.setdefault(path, re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-"))
    return anchors


def _sections(bound: BoundSpec, prefix: str = "") -> Iterator[tuple[str, Section]]:
    yield from _walk(f"{prefix}embedding", bound.embedding)
    for layer in dict.fromkeys(bound.layers):
        for name in Layer.model_fields:
            path = f"layer.{name}" if name in LayerLayout.model_fields else name
            yield from _walk(f"{prefix}{path}", getattr(layer, name))
    yield from _walk(f"{prefix}final_norm", bound.final_norm)
    if bound.encoder is not None:
        yield from _sections(bound.encoder, "encoder.")
    if not prefix:
        for name in ("head", "pooler", "prefix"):
            yield from _walk(name, getattr(bound, name))


def _walk(path: str, value: object) -> Iterator[tuple[str, Section]]:
    if isinstance(value, Section):
        yield path, value
        for name in type(value).model_fields:
            yield from _walk(f"{path}.{name}", getattr(value, name))


def _changed(section: Section) -> Iterator[str]:
    """Yield the keys of a section without a default, and those with another value."""
    for name, info in type(section).model_fields.items():
        value, default = getattr(section, name), info.get_default(call_default_factory=True)
        # A switch that is off, where the default is that of another key, changes nothing.
        is_same = value == default or (value is False and default is None)
        if name != "kind" and not isinstance(value, Section) and not is_same:
            yield name
