"""What the vocabulary admits at each place, read off its pydantic classes.

Everything that walks a spec (checking, merging, the JSON Schema) walks these shapes, so that a new word of the
vocabulary is one class and nothing else.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from archc.archspec.errors import listed, shown
from archc.archspec.vocabulary import DefaultKind, Word

_STRICT = ConfigDict(strict=True, allow_inf_nan=False)


@dataclass(frozen=True, eq=False)
class LeafShape:
    """A place for one value. `words` are the allowed texts, `types` what else may stand there."""

    types: frozenset[str]  # of "bool", "int", "float", "text", "list"
    words: tuple[str, ...]
    nullable: bool
    adapter: TypeAdapter[Any]
    item: LeafShape | None = None  # what a list holds, where a list may stand

    @property
    def expected(self) -> str:
        """The allowed values, as a message says them."""
        names = {
            "bool": "true or false", "int": "an integer", "float": "a number", "text": "text", "list": "a list",
        }  # fmt: skip
        parts = [names[kind] for kind in names if kind in self.types]
        if self.words:
            parts.append(f"one of {listed(self.words)}" if len(self.words) > 1 else f"'{self.words[0]}'")
        return " or ".join([*parts, *(["none"] if self.nullable else [])])

    def admits(self, value: object) -> bool:
        """Whether the value may stand here as it is."""
        try:
            self.validate(value)
        except ValueError:
            return False
        return True

    def validate(self, value: object) -> Any:
        """The value in its canonical form. Raises ValueError that says what it must be."""
        try:
            return self.adapter.validate_python(tuple(value) if isinstance(value, list) else value)
        except ValidationError as error:
            raise ValueError(self._reason(value, error)) from None

    def _reason(self, value: object, error: ValidationError) -> str:
        first = error.errors(include_url=False, include_input=False)[0]
        bounds = first.get("ctx", {})
        match first["type"]:
            case "greater_than" if bounds["gt"] == 0:
                return "must be positive"
            case "greater_than":
                return f"must be greater than {bounds['gt']:g}"
            case "greater_than_equal":
                return f"must be at least {bounds['ge']:g}"
            case "less_than":
                return f"must be less than {bounds['lt']:g}"
            case "less_than_equal":
                return f"must be at most {bounds['le']:,}"
            case "finite_number":
                return "must be a finite number"
        return f"must be {self.expected}"


@dataclass(frozen=True, eq=False)
class SectionShape:
    """A place for a mapping: one of several classes told apart by `kind`, or a single class under the key None.

    `default_kind` is that of a mapping that names none, where it may.
    """

    classes: Mapping[str | None, type[Word]]
    nullable: bool = False
    default_kind: str | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        """The allowed kinds; empty where the section has no `kind`."""
        return tuple(kind for kind in self.classes if kind is not None)

    @property
    def flags(self) -> tuple[str, ...]:
        """The section's keys, where all of them are booleans: one boolean then stands for them all."""
        if self.kinds:
            return ()
        fields = fields_of(self.classes[None])
        shapes = [field.shape for field in fields.values()]
        booleans = all(isinstance(shape, LeafShape) and shape.types == {"bool"} for shape in shapes)
        return tuple(fields) if fields and booleans else ()

    @property
    def expected(self) -> str:
        """What may stand here, as a message says it."""
        text = "a mapping"
        if self.kinds:
            default = f", by default {self.default_kind}" if self.default_kind is not None else ""
            text = f"a mapping with a kind ({listed(self.kinds)}{default})"
        return f"true, false or {text}" if self.flags else text


Shape = LeafShape | SectionShape


@dataclass(frozen=True, eq=False)
class Field:
    """One key of a section."""

    name: str
    shape: Shape
    required: bool
    default: object
    description: str


@cache
def fields_of(word: type[Word]) -> Mapping[str, Field]:
    """The keys of a section, in the order of its class; `kind` apart."""
    return {
        name: Field(
            name,
            _shape(info.annotation, tuple(info.metadata)),
            info.is_required(),
            None if info.is_required() else info.get_default(call_default_factory=True),
            info.description or "",
        )
        for name, info in word.model_fields.items()
        if name != "kind"
    }


def _shape(annotation: Any, metadata: tuple[Any, ...] = ()) -> Shape:
    members = [member for member in _members(annotation) if member is not type(None)]
    nullable = len(members) < len(_members(annotation))
    words = [_bare(member) for member in members]
    if all(isinstance(word, type) and issubclass(word, Word) for word in words):
        marks = (*metadata, *_marks(annotation))
        default = next((mark.kind for mark in marks if isinstance(mark, DefaultKind)), None)
        return SectionShape({_kind_of(word): word for word in words}, nullable, default)
    adapter: TypeAdapter[Any] = TypeAdapter(
        Annotated[(annotation, *metadata)] if metadata else annotation, config=_STRICT
    )
    kinds: set[str] = set()
    allowed: list[str] = []
    item: LeafShape | None = None
    for word in words:
        if typing.get_origin(word) is Literal:
            allowed += map(str, typing.get_args(word))
        elif typing.get_origin(word) is tuple:
            kinds.add("list")
            held = _shape(typing.get_args(word)[0])
            item = held if isinstance(held, LeafShape) else None
        else:
            kinds.add({bool: "bool", int: "int", float: "float", str: "text"}[word])
    return LeafShape(frozenset(kinds), tuple(allowed), nullable, adapter, item)


def _members(annotation: Any) -> tuple[Any, ...]:
    bare = _bare(annotation)
    if typing.get_origin(bare) in (typing.Union, types.UnionType):
        return tuple(member for part in typing.get_args(bare) for member in _members(part))
    return (bare,)


def _marks(annotation: Any) -> tuple[Any, ...]:
    """What Annotated says of a type, or of a member of a union."""
    if typing.get_origin(annotation) is Annotated:
        return (*annotation.__metadata__, *_marks(_bare(annotation)))
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return tuple(mark for part in typing.get_args(annotation) for mark in _marks(part))
    return ()


def _bare(annotation: Any) -> Any:
    """The annotation without Annotated's metadata."""
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is Annotated else annotation


def _kind_of(word: type[Word]) -> str | None:
    info: FieldInfo | None = word.model_fields.get("kind")
    return str(typing.get_args(info.annotation)[0]) if info is not None else None


def kind_error(found: object, kinds: tuple[str, ...]) -> str:
    """The message for a kind that is none of the section's."""
    return f"{shown(found)} is not one of {listed(kinds)}"
