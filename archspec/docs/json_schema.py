"""The JSON Schema of spec files, generated from the vocabulary; for editors, which read YAML with it.

It accepts every spec that `load_spec` accepts, and points at unknown keys and words. What needs knowledge of the whole
file (which names an expression may read, which keys are missing after `extends`) is left to `load_spec`.
"""

from __future__ import annotations

import inspect
from typing import Any

from archc.archspec.checking.word_schema import Field, LeafShape, SectionShape, Shape, fields_of
from archc.archspec.source.yaml_tree import join
from archc.archspec.vocabulary import Model, Word, differs_by_layer
from archc.archspec.vocabulary.verbs import VERBS

Schema = dict[str, Any]

_EXPRESSION: Schema = {"$ref": "#/$defs/expression"}
_TEXTS: Schema = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
_NAME = "^[A-Za-z_][A-Za-z0-9_]*$"


def json_schema() -> Schema:
    """The JSON Schema (draft 2020-12) of a spec file."""
    builder = _Builder()
    sections = {name: builder.field(field, name) for name, field in fields_of(Model).items()}
    required = [name for name, field in fields_of(Model).items() if field.required]
    weights = _weights(builder)
    variant = {
        "type": "object",
        "description": "Sections that replace others where `when` holds; later variants win.",
        "properties": {"when": {"type": ["string", "boolean"], "description": "A condition on the config."}}
        | sections
        | {"weights": weights},
        "required": ["when"],
        "additionalProperties": False,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "archc spec",
        "description": "A family of models, as archc compiles it.",
        "type": "object",
        "properties": _meta() | sections | {"variants": {"type": "array", "items": variant}, "weights": weights},
        "required": ["family"],
        "additionalProperties": False,
        "if": {"not": {"required": ["extends"]}},
        "then": {"required": required},
        "$defs": builder.definitions,
    }


class _Builder:
    """Schemas of the vocabulary's classes, each defined once for places with and without layers."""

    def __init__(self) -> None:
        self.definitions: dict[str, Schema] = {
            "expression": {
                "type": "string",
                "description": "An expression over names of `config:` and `derive:`; where values vary by layer, also "
                "over `layer` and `layers`.",
            }
        }

    def field(self, field: Field, path: str, per_layer: bool = False) -> Schema:
        """The schema of one key of a section."""
        schema = self.shape(field.shape, path, per_layer)
        about = {"description": field.description} if field.description else {}
        if not field.required and isinstance(field.default, bool | int | float | str):
            about["default"] = field.default  # type: ignore[assignment]
        return {**about, **schema}

    def shape(self, shape: Shape, path: str, per_layer: bool) -> Schema:
        """The schema of a place; where values vary by layer, a list of such values too."""
        per_layer = per_layer or differs_by_layer(path)
        options = self._leaf(shape) if isinstance(shape, LeafShape) else self._section(shape, path, per_layer)
        if per_layer:
            options.append({"type": "array", "items": {"anyOf": list(options)}, "minItems": 1})
        return {"anyOf": options}

    def _leaf(self, shape: LeafShape) -> list[Schema]:
        literal = shape.adapter.json_schema()
        literal.pop("description", None)
        options: list[Schema] = literal.get("anyOf", [literal])
        if shape.item is not None:
            items = {"anyOf": self._leaf(shape.item)}
            options = [{**option, "items": items} if option.get("type") == "array" else option for option in options]
        return [*options, _EXPRESSION]

    def _section(self, shape: SectionShape, path: str, per_layer: bool) -> list[Schema]:
        options: list[Schema] = [self.word(word, path, per_layer) for word in shape.classes.values()]
        if shape.kinds:
            options.append({"enum": list(shape.kinds), "description": "Short for a mapping with this kind."})
        if shape.flags:
            options.append({"type": "boolean", "description": "Short for all of the section's keys."})
        if "none" in shape.kinds or shape.nullable:
            options.append({"type": "null"})
        return [*options, _EXPRESSION]

    def word(self, word: type[Word], path: str, per_layer: bool) -> Schema:
        """A reference to the schema of a class."""
        name = f"{word.__name__}.per_layer" if per_layer else word.__name__
        if name not in self.definitions:
            self.definitions[name] = {}
            kind = word.model_fields["kind"].default if "kind" in word.model_fields else None
            # `kind: none` is null to YAML.
            properties: Schema = {"kind": {"enum": [kind, None] if kind == "none" else [kind]}} if kind else {}
            for key, field in fields_of(word).items():
                properties[key] = self.field(field, join(path, key), per_layer)
            self.definitions[name] = {
                "type": "object",
                "description": inspect.cleandoc(word.__doc__ or ""),
                "properties": properties,
                "additionalProperties": False,
            }
        return {"$ref": f"#/$defs/{name}"}


def _meta() -> dict[str, Schema]:
    return {
        "family": {"type": "string", "pattern": "^[a-z0-9]+(-[a-z0-9]+)*$", "description": "The name of the spec."},
        "description": {"type": "string", "description": "What models it describes, in one line."},
        "source": {**_TEXTS, "description": "Where its facts come from: a config.json, a paper."},
        "extends": {"type": "string", "description": "A spec that this one changes: beside it, or a shipped one."},
        "match": {
            "type": "object",
            "description": "Which checkpoints it is for, by their config.json.",
            "properties": {"model_type": _TEXTS, "architectures": _TEXTS},
            "required": ["model_type"],
            "additionalProperties": False,
        },
        "config": {
            "type": ["object", "null"],
            "description": "The names that the spec reads from config.json; one without a default is required.",
            "propertyNames": {"pattern": _NAME},
            "additionalProperties": {
                "type": ["object", "null"],
                "properties": {
                    "default": {"description": "A value, or an expression over other config names."},
                    "absent": {"description": "A value for a file without the key, where null is the default."},
                    "keys": {
                        "type": "array",
                        "items": {"type": "string"},
                        "description": "Other keys with this meaning.",
                    },
                    "allowed": {"type": "array", "description": "Any other value is an error."},
                },
                "additionalProperties": False,
            },
        },
        "derive": {
            "type": ["object", "null"],
            "description": "Names computed from config names and from earlier derived ones.",
            "propertyNames": {"pattern": _NAME},
            "additionalProperties": {"type": ["string", "number"]},
        },
        "ignore_config": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Keys of config.json, or patterns of them, that do not change the computation.",
        },
        "sizes": {
            "type": "object",
            "description": "Named sizes: values of config names, so that the spec works without a checkpoint.",
            "additionalProperties": {"type": "object"},
        },
    }


def _weights(builder: _Builder) -> Schema:
    verbs: dict[str, Schema] = {}
    for verb, word in VERBS.items():
        options: list[Schema] = [{"const": True}] if not any(f.required for f in fields_of(word).values()) else []
        if fields_of(word):
            options.append(builder.word(word, f"weights.{verb}", False))
        verbs[verb] = {"anyOf": options, "description": inspect.cleandoc(word.__doc__ or "")}
    entry = {
        "type": "object",
        "properties": {"from": _TEXTS, **verbs},
        "required": ["from"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "description": "Which checkpoint tensors fill archc's.",
        "properties": {
            "optional_prefix": {**_TEXTS, "description": "Taken off checkpoint names that have it."},
            "rename": {"type": "object", "additionalProperties": {"type": "string"}},
            "ignore": {**_TEXTS, "description": "Patterns of checkpoint tensors that nothing reads."},
            "tensors": {
                "type": "object",
                "description": "A slot or module of archc's, to a checkpoint name, a list of alternatives, or a "
                "mapping with `from` and verbs. null removes an inherited entry.",
                "additionalProperties": {"anyOf": [*_TEXTS["anyOf"], entry, {"type": "null"}]},
            },
        },
        "additionalProperties": False,
    }
