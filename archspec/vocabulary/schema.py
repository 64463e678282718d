"""Schemas of the vocabulary: the values and sections that are valid at each place of a spec.

Schemas are read from the pydantic classes, so that a new class is all that a new section needs: checking, merging, the
JSON Schema and the vocabulary page walk the schemas. pydantic validates single values (strict types, bounds, aliases)
and builds the frozen sections. It does not validate whole specs, because in YAML a value may also be an expression or a
per-layer list, and because a problem needs its line and column and must not hide other problems; see
`archc.archspec.checking.checker`.
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

from archc.archspec.errors import format_list
from archc.archspec.vocabulary.base import DefaultKind, Section

_STRICT = ConfigDict(strict=True, allow_inf_nan=False)
_TYPE_NAMES = {"bool": "true or false", "int": "an integer", "float": "a number", "text": "text", "list": "a list"}


@dataclass(frozen=True, eq=False)
class ValueSchema:
    """Schema of a single value: its types, and the allowed strings in `choices`."""

    types: frozenset[str]  # keys of _TYPE_NAMES
    choices: tuple[str, ...]
    nullable: bool
    adapter: TypeAdapter[Any]
    item: ValueSchema | None = None  # of the items, if `types` contains "list"

    @property
    def expected(self) -> str:
        """Return the allowed values as text for a message."""
        parts = [name for kind, name in _TYPE_NAMES.items() if kind in self.types]
        if self.choices:
            parts.append(f"one of {format_list(self.choices)}" if len(self.choices) > 1 else f"'{self.choices[0]}'")
        return " or ".join([*parts, *(["none"] if self.nullable else [])])

    def is_valid(self, value: object) -> bool:
        """Return whether `value` is valid without evaluation."""
        try:
            self.validate(value)
        except ValueError:
            return False
        return True

    def validate(self, value: object) -> Any:
        """Return `value` in canonical form. Raises ValueError ("must be …") if it is not valid."""
        try:
            return self.adapter.validate_python(tuple(value) if isinstance(value, list) else value)
        except ValidationError as error:
            raise ValueError(self._requirement(error)) from None

    def _requirement(self, error: ValidationError) -> str:
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
class SectionSchema:
    """Schema of a mapping: the section classes by `kind`, or a single class under the key None."""

    classes: Mapping[str | None, type[Section]]
    nullable: bool = False
    default_kind: str | None = None  # of a mapping without `kind`, if that is allowed

    @property
    def kinds(self) -> tuple[str, ...]:
        """Return the allowed kinds; empty for a section without `kind`."""
        return tuple(kind for kind in self.classes if kind is not None)

    @property
    def flags(self) -> tuple[str, ...]:
        """Return the section's keys if all are booleans, so that one boolean can set them all; else nothing."""
        if self.kinds:
            return ()
        keys = keys_of(self.classes[None])
        schemas = [key.schema for key in keys.values()]
        are_booleans = all(isinstance(schema, ValueSchema) and schema.types == {"bool"} for schema in schemas)
        return tuple(keys) if keys and are_booleans else ()

    @property
    def expected(self) -> str:
        """Return the allowed forms as text for a message."""
        text = "a mapping"
        if self.kinds:
            default = f", by default {self.default_kind}" if self.default_kind is not None else ""
            text = f"a mapping with a kind ({format_list(self.kinds)}{default})"
        return f"true, false or {text}" if self.flags else text


Schema = ValueSchema | SectionSchema


@dataclass(frozen=True, eq=False)
class KeySchema:
    """Schema of one key of a section."""

    name: str
    schema: Schema
    required: bool
    default: object
    description: str


@cache
def keys_of(section: type[Section]) -> Mapping[str, KeySchema]:
    """Return the keys of a section except `kind`, in the order of its class."""
    return {
        name: KeySchema(
            name,
            _schema(info.annotation, tuple(info.metadata)),
            info.is_required(),
            None if info.is_required() else info.get_default(call_default_factory=True),
            info.description or "",
        )
        for name, info in section.model_fields.items()
        if name != "kind"
    }


def kind_of(section: type[Section]) -> str | None:
    """Return the `kind` of a section class, or None for a class without kinds."""
    info: FieldInfo | None = section.model_fields.get("kind")
    return str(typing.get_args(info.annotation)[0]) if info is not None else None


def _schema(annotation: Any, metadata: tuple[Any, ...] = ()) -> Schema:
    members = [member for member in _union_members(annotation) if member is not type(None)]
    nullable = len(members) < len(_union_members(annotation))
    bare = [_without_metadata(member) for member in members]
    if all(isinstance(member, type) and issubclass(member, Section) for member in bare):
        annotations = (*metadata, *_metadata(annotation))
        default = next((item.kind for item in annotations if isinstance(item, DefaultKind)), None)
        return SectionSchema({kind_of(member): member for member in bare}, nullable, default)
    adapter: TypeAdapter[Any] = TypeAdapter(
        Annotated[(annotation, *metadata)] if metadata else annotation, config=_STRICT
    )
    type_names: set[str] = set()
    choices: list[str] = []
    item: ValueSchema | None = None
    for member in bare:
        if typing.get_origin(member) is Literal:
            choices += map(str, typing.get_args(member))
        elif typing.get_origin(member) is tuple:
            type_names.add("list")
            item_schema = _schema(typing.get_args(member)[0])
            item = item_schema if isinstance(item_schema, ValueSchema) else None
        else:
            type_names.add({bool: "bool", int: "int", float: "float", str: "text"}[member])
    return ValueSchema(frozenset(type_names), tuple(choices), nullable, adapter, item)


def _union_members(annotation: Any) -> tuple[Any, ...]:
    bare = _without_metadata(annotation)
    if typing.get_origin(bare) in (typing.Union, types.UnionType):
        return tuple(member for part in typing.get_args(bare) for member in _union_members(part))
    return (bare,)


def _metadata(annotation: Any) -> tuple[Any, ...]:
    """Return the Annotated metadata of a type and of the members of a union."""
    if typing.get_origin(annotation) is Annotated:
        return (*annotation.__metadata__, *_metadata(_without_metadata(annotation)))
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return tuple(item for part in typing.get_args(annotation) for item in _metadata(part))
    return ()


def _without_metadata(annotation: Any) -> Any:
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is Annotated else annotation
