"""Random overrides of a spec: keys that it has, with values of their schema, most of them valid."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import yaml

from archc.archspec import BoundSpec
from archc.archspec.vocabulary import Model, Section
from archc.archspec.vocabulary.model import LayerLayout
from archc.archspec.vocabulary.schema import Schema, ValueSchema, keys_of

INTEGERS = (1, 2, 4, 8, 16, 24, 32, 64, 100)
FLOATS = (0.25, 0.5, 1.0, 1.5, 8.0, 10000.0)
# Values that every schema of their type refuses in some places.
UNLIKELY = (0, -1, 0.0, None, "none", True, [])
# Sections that a layer or a stack has.
PER_LAYER = ("attention", "cross_attention", "mlp", "position", "recurrence")
OF_A_STACK = ("embedding", "final_norm", "head", "pooler", "prefix")
# Keys whose random values would only make a model too large, or refuse every spec.
LEFT_OUT = {"context", "vocab", "topology", "count", "weights", "width"}


def random_overrides(generator: random.Random, spec: BoundSpec, most: int = 3) -> list[str]:
    """Return texts of `--set` for one to `most` keys of a spec; a recurrence comes with the removal of attention."""
    places = list(_places(spec))
    texts = []
    for _ in range(generator.randint(1, most)):
        path, schema = generator.choice(places)
        value = generator.choice(UNLIKELY) if generator.random() < 0.03 else random_value(generator, schema)
        texts.append(f"{path}={_flow(value)}")
        if path.endswith("recurrence") and value is not None:
            texts.append("attention=none")
    return texts


def _flow(value: Any) -> str:
    """Return a value as YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False)
    return text.removesuffix("\n").removesuffix("...").strip()


def _places(spec: BoundSpec) -> Iterator[tuple[str, Schema]]:
    """Yield the path and schema of every key of a spec, of sections and of single values."""
    keys, layer = keys_of(Model), spec.layers[0]
    for name in PER_LAYER:
        # A section of some layers alone has no keys to change: there is none for all layers.
        in_all = all(getattr(each, name) is not None for each in spec.layers)
        yield from _below(name, keys[name].schema, getattr(layer, name) if in_all else None)
    for name in OF_A_STACK:
        yield from _below(name, keys[name].schema, getattr(spec, name))
    for name, key in keys_of(LayerLayout).items():
        yield from _below(f"layer.{name}", key.schema, getattr(layer, name, None))
    if spec.encoder is not None:
        for path, schema in _places(spec.encoder):
            if path.split(".")[0] not in ("cross_attention", "head", "pooler", "prefix", "recurrence"):
                yield f"encoder.{path}", schema


def _below(path: str, schema: Schema, value: Any) -> Iterator[tuple[str, Schema]]:
    """Yield a key and all keys below it that the bound value has."""
    if path.rsplit(".", maxsplit=1)[-1] not in LEFT_OUT:
        yield path, schema
    if isinstance(value, Section):
        for name, key in keys_of(type(value)).items():
            yield from _below(f"{path}.{name}", key.schema, getattr(value, name))


def random_value(generator: random.Random, schema: Schema) -> Any:
    """Return a value of a schema: required keys of a section, and some of the others."""
    if schema.nullable and generator.random() < 0.2:
        return None
    if isinstance(schema, ValueSchema):
        return generator.choice(list(_values(generator, schema)))
    kind = generator.choice(list(schema.classes))
    value = {} if kind is None else {"kind": kind}
    for name, key in keys_of(schema.classes[kind]).items():
        if key.required or (name not in LEFT_OUT and generator.random() < 0.2):
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
        yield [generator.choice(list(_values(generator, schema.item))) for _ in range(generator.choice((1, 2, 4, 8)))]
