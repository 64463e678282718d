"""Random overrides of a spec: keys of the vocabulary with values of their schema, most of them valid."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from archc.archspec.vocabulary import Model
from archc.archspec.vocabulary.schema import KeySchema, Schema, SectionSchema, ValueSchema, keys_of

INTEGERS = (0, 1, 2, 3, 4, 8, 16, 24, 32, 64, 100)
FLOATS = (0.25, 0.5, 1.0, 1.5, 8.0, 10000.0)
SECTIONS = ("attention", "encoder", "head", "layer", "mlp", "pooler", "position", "recurrence")
# Keys whose random values would only make a model too large, or refuse every spec.
LEFT_OUT = {"context", "vocab", "topology", "count", "weights"}


def random_overrides(generator: random.Random, most: int = 3) -> list[str]:
    """Return one to `most` texts of `--set`: a whole section, or one key at any depth of one."""
    return [_override(generator) for _ in range(generator.randint(1, most))]


def _override(generator: random.Random) -> str:
    keys = keys_of(Model)
    if generator.random() < 0.5:
        path, schema = generator.choice(list(_leaves(keys, "")))
    else:
        path = generator.choice(SECTIONS)
        schema = keys[path].schema
    value = yaml.safe_dump(random_value(generator, schema), default_flow_style=True, width=10**6, sort_keys=False)
    return f"{path}={value.removesuffix(chr(10)).removesuffix('...').strip()}"


def _leaves(keys: Mapping[str, KeySchema], path: str) -> Iterator[tuple[str, ValueSchema]]:
    """Yield the path and schema of every value below a section, of all its kinds."""
    for name, key in keys.items():
        if name in LEFT_OUT:
            continue
        if isinstance(key.schema, ValueSchema):
            yield f"{path}{name}", key.schema
        else:
            for section in key.schema.classes.values():
                yield from _leaves(keys_of(section), f"{path}{name}.")


def random_value(generator: random.Random, schema: Schema) -> Any:
    """Return a value of a schema: required keys of a section, and a few of the others."""
    if schema.nullable and generator.random() < 0.2:
        return None
    if isinstance(schema, ValueSchema):
        return generator.choice(list(_values(generator, schema)))
    kind = generator.choice(list(schema.classes))
    value = {} if kind is None else {"kind": kind}
    for name, key in keys_of(schema.classes[kind]).items():
        if name not in LEFT_OUT and (key.required or generator.random() < 0.3):
            value[name] = random_value(generator, key.schema)
    return value


def _values(generator: random.Random, schema: ValueSchema) -> Iterator[Any]:
    yield from schema.choices
    if "bool" in schema.types:
        yield from (True, False)
    if "int" in schema.types:
        yield from INTEGERS
    if "float" in schema.types:
        yield from FLOATS
    if "list" in schema.types and schema.item is not None:
        yield [generator.choice(list(_values(generator, schema.item))) for _ in range(generator.choice((1, 2, 8)))]
