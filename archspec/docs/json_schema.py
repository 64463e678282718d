"""The JSON Schema of spec files, generated from the vocabulary, for editors with YAML support.

It accepts every spec that `load_spec` accepts, and rejects unknown keys and values. Checks that need the whole spec
(names in expressions, keys missing after `extends`) are left to `load_spec`.
"""

from __future__ import annotations

import inspect
from typing import Any

from archc.archspec.source.nodes import join_path
from archc.archspec.vocabulary import Model, Section, differs_by_layer
from archc.archspec.vocabulary.schema import KeySchema, Schema, SectionSchema, ValueSchema, keys_of, kind_of
from archc.archspec.vocabulary.verbs import VERBS

JsonSchema = dict[str, Any]

_ID = "https://archc-compiler.github.io/archc/spec.schema.json"  # the site has it at this address
MODELINE = f"# yaml-language-server: $schema={_ID}"
"""The comment that selects the schema in an editor with the YAML language server."""
_EXPRESSION: JsonSchema = {"$ref": "#/$defs/expression"}
_TEXTS: JsonSchema = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
_NAME = "^[A-Za-z_][A-Za-z0-9_]*$"


def json_schema() -> JsonSchema:
    """Return the JSON Schema (draft 2020-12) of a spec file."""
    builder = _Builder()
    sections = {name: builder.key(key, name) for name, key in keys_of(Model).items()}
    required = [name for name, key in keys_of(Model).items() if key.required]
    weights = _weights(builder)
    variant = {
        "type": "object",
        "description": "Sections that replace others if `when` holds; later variants take precedence.",
        "properties": {"when": {"type": ["string", "boolean"], "description": "A condition on the config."}}
        | sections
        | {"weights": weights},
        "required": ["when"],
        "additionalProperties": False,
    }
    variants = {"type": "array", "items": variant, "description": "An empty list removes inherited variants."}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": _ID,
        "title": "archc spec",
        "description": "A family of language models.",
        "type": "object",
        "properties": _meta() | sections | {"variants": variants, "weights": weights},
        "required": ["family"],
        "additionalProperties": False,
        "if": {"not": {"required": ["extends"]}},
        "then": {"required": required},
        "$defs": builder.definitions,
    }


class _Builder:
    """JSON Schemas of the vocabulary's classes, one definition for per-layer places and one for others."""

    def __init__(self) -> None:
        self.definitions: dict[str, JsonSchema] = {
            "expression": {
                "type": "string",
                "description": "An expression over names of `config:` and `derive:` and, in per-layer sections, "
                "`layer` and `layers`.",
            }
        }

    def key(self, key: KeySchema, path: str, per_layer: bool = False) -> JsonSchema:
        """Return the schema of one key of a section."""
        annotations: JsonSchema = {"description": key.description} if key.description else {}
        if not key.required and isinstance(key.default, bool | int | float | str):
            annotations["default"] = key.default
        return {**annotations, **self.place(key.schema, path, per_layer)}

    def place(self, schema: Schema, path: str, per_layer: bool) -> JsonSchema:
        """Return the schema of a place; in a per-layer section a list of such values is valid, too."""
        per_layer = per_layer or differs_by_layer(path)
        options = self._value(schema) if isinstance(schema, ValueSchema) else self._section(schema, path, per_layer)
        if per_layer:
            options.append({"type": "array", "items": {"anyOf": list(options)}, "minItems": 1})
        return {"anyOf": options}

    def _value(self, schema: ValueSchema) -> list[JsonSchema]:
        literal = schema.adapter.json_schema()
        literal.pop("description", None)
        options: list[JsonSchema] = literal.get("anyOf", [literal])
        if schema.item is not None:
            items = {"anyOf": self._value(schema.item)}
            options = [{**option, "items": items} if option.get("type") == "array" else option for option in options]
        return [*options, _EXPRESSION]

    def _section(self, schema: SectionSchema, path: str, per_layer: bool) -> list[JsonSchema]:
        options: list[JsonSchema] = self._mappings(schema, path, per_layer)
        if schema.kinds:
            options.append({"enum": list(schema.kinds), "description": "Short for a mapping with this kind."})
        if schema.flags:
            options.append({"type": "boolean", "description": "Sets all keys of the section."})
        if "none" in schema.kinds or schema.nullable:
            options.append({"type": "null"})
        return [*options, _EXPRESSION]

    def _mappings(self, schema: SectionSchema, path: str, per_layer: bool) -> list[JsonSchema]:
        """Return the schema of the mappings of a section.

        If it has kinds, that of the given kind alone decides: an editor then names the wrong key, and does not list
        every kind.
        """
        classes = [self.section(each, path, per_layer) for each in schema.classes.values()]
        if len(classes) < 2:
            return classes
        kinds = [_kinds(each) for each in schema.classes.values()]
        by_kind = [
            {"if": {"properties": {"kind": {"enum": names}}, "required": ["kind"]}, "then": reference}
            for names, reference in zip(kinds, classes, strict=True)
        ]
        inherited: JsonSchema = {"if": {"not": {"required": ["kind"]}}, "then": {"anyOf": classes}}
        kind = {"enum": [name for names in kinds for name in names]}
        return [{"type": "object", "properties": {"kind": kind}, "allOf": [*by_kind, inherited]}]

    def section(self, section: type[Section], path: str, per_layer: bool) -> JsonSchema:
        """Return a reference to the schema of a section class."""
        name = f"{section.__name__}.per_layer" if per_layer else section.__name__
        if name not in self.definitions:
            self.definitions[name] = {}
            properties: JsonSchema = {"kind": {"enum": _kinds(section)}} if kind_of(section) else {}
            for key, schema in keys_of(section).items():
                properties[key] = self.key(schema, join_path(path, key), per_layer)
            self.definitions[name] = {
                "type": "object",
                "description": inspect.cleandoc(section.__doc__ or ""),
                "properties": properties,
                "additionalProperties": False,
            }
        return {"$ref": f"#/$defs/{name}"}


def _kinds(section: type[Section]) -> list[str | None]:
    """Return the spellings of a section's kind: YAML reads `kind: none` as null."""
    kind = kind_of(section)
    return [kind, None] if kind == "none" else [kind]


def _meta() -> dict[str, JsonSchema]:
    return {
        "family": {"type": "string", "pattern": "^[a-z0-9]+(-[a-z0-9]+)*$", "description": "The name of the spec."},
        "description": {"type": "string", "description": "The described models, in one line."},
        "source": {**_TEXTS, "description": "Provenance of the facts: a config.json, a paper."},
        "extends": {
            "type": "string",
            "description": "The parent: a spec in this folder or below it, or a shipped one.",
        },
        "match": {
            "type": "object",
            "description": "Checkpoints that the spec is for, by keys of their config.json.",
            "properties": {
                "model_type": _TEXTS,
                "architectures": _TEXTS,
                "where": {
                    "type": "string",
                    "description": "A condition on the keys of config.json and the mapping `tokenizer_config`; "
                    "an absent key is none.",
                },
                "tensors": {**_TEXTS, "description": "Names of tensors that a checkpoint without config.json has."},
            },
            "required": ["model_type"],
            "additionalProperties": False,
        },
        "config": {
            "type": ["object", "null"],
            "description": "Names that are read from config.json; a name without a default is required.",
            "propertyNames": {"pattern": _NAME},
            "additionalProperties": {
                "description": "A mapping; any other value is the default alone.",
                "properties": {
                    "default": {"description": "A value, or an expression over other config names."},
                    "absent": {"description": "The default of a file without the key; null has `default`."},
                    "keys": {
                        "type": "array",
                        "items": {"type": "string"},
                        "description": "Other keys with the same meaning.",
                    },
                    "allowed": {"type": "array", "description": "The supported values."},
                    "shape": {
                        **_TEXTS,
                        "description": "The size of a tensor's axis, `name[axis]`, or a name with {layer} for the "
                        "number of layers: the value if config.json has none.",
                    },
                },
                "additionalProperties": False,
            },
        },
        "fixed_config": {
            "type": ["object", "null"],
            "description": "Keys of config.json with one supported value, and this value.",
            "propertyNames": {"pattern": _NAME},
            "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
        },
        "derive": {
            "type": ["object", "null"],
            "description": "Names computed from config names and earlier derived names, and in each layer from `layer` "
            "and `layers`; null removes an inherited one.",
            "propertyNames": {"pattern": _NAME},
            "additionalProperties": {"type": ["string", "number", "null"]},
        },
        "ignore_config": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Keys of config.json, or patterns, that do not affect the computation.",
        },
        "sizes": {
            "type": "object",
            "description": "Named sizes: values of config names, for use without a checkpoint.",
            "additionalProperties": {"type": "object"},
        },
    }


def _weights(builder: _Builder) -> JsonSchema:
    verbs: dict[str, JsonSchema] = {}
    for verb, section in VERBS.items():
        keys = keys_of(section)
        options: list[JsonSchema] = [{"const": True}] if not any(key.required for key in keys.values()) else []
        if keys:
            options.append(builder.section(section, f"weights.{verb}", False))
        verbs[verb] = {"anyOf": options, "description": inspect.cleandoc(section.__doc__ or "")}
    entry = {
        "type": "object",
        "properties": {"from": _TEXTS, **verbs},
        "required": ["from"],
        "additionalProperties": False,
    }
    choices = {"type": "array", "items": {"anyOf": [{"type": "string"}, entry]}, "minItems": 1}
    return {
        "type": "object",
        "description": "Checkpoint tensors of each weight slot.",
        "properties": {
            "optional_prefix": {**_TEXTS, "description": "Removed from checkpoint names that start with it."},
            "rename": {
                "type": "object",
                "description": "Old endings of checkpoint names, to new ones.",
                "additionalProperties": {"type": "string"},
            },
            "ignore": {**_TEXTS, "description": "Patterns of checkpoint tensors that are not read."},
            "tensors": {
                "type": "object",
                "description": "Slot or module, to a checkpoint name, a mapping with `from` and verbs, or a list "
                "of alternatives. null removes an inherited entry.",
                "additionalProperties": {"anyOf": [*_TEXTS["anyOf"], entry, choices, {"type": "null"}]},
            },
        },
        "additionalProperties": False,
    }
