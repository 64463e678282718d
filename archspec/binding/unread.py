"""Keys of a config.json that may affect the computation and that a spec does not read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from archc.archspec.assembly.checked_spec import CheckedSpec
from archc.archspec.binding.known_values import repeats_model
from archc.archspec.config.neutral_keys import is_neutral


def unread_keys(
    spec: CheckedSpec, config: Mapping[str, Any], model: Mapping[str, Any] | None, parent: str = ""
) -> Iterator[tuple[str, Any]]:
    """Yield each such key, with a dot before a key inside a mapping, and its value.

    `config` is in canonical spelling. `model` holds the fields of the bound model, whose values a key may repeat, or is
    None if it could not be bound.
    """
    for name, value in config.items():
        key = f"{parent}{name}"
        if spec.reads_config(key) or is_neutral(str(name), value):
            continue
        if model is not None and not parent and repeats_model(key, value, model):
            continue
        if isinstance(value, Mapping) and spec.reads_inside(key):
            yield from unread_keys(spec, value, model, f"{key}.")
            continue
        yield key, value
