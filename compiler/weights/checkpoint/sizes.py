"""Values of a config that are read off the shapes of a checkpoint's tensors, by `shape` of the spec's config names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from archc.archspec import Spec
from archc.archspec.config.names import ConfigName
from archc.archspec.config.values import value_at
from archc.archspec.errors import format_list
from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.containers import has_weights, open_weights
from archc.compiler.weights.checkpoint.folder import Source


def complete_config(spec: Spec, config: dict[str, Any] | None, source: Source) -> dict[str, Any] | None:
    """Return a config with the values that it lacks and that shapes of the checkpoint's tensors state.

    Weights of a hub repository are fetched if a shape is read. A config that is None stays None for a spec that reads
    no shapes, and a checkpoint without weights leaves it as it is. Raises BuildError if there is no config, and a
    tensor that states a required value is missing.
    """
    open_names = [entry for entry in spec.names.config.values() if _is_open(entry, spec, config or {})]
    if not open_names:
        return config
    source.fetch_weights()
    if not has_weights(source.folder):
        return config
    weights = open_weights(source.folder)
    names, completed = frozenset(weights.names()), dict(config or {})
    for entry in open_names:
        values = [value for size in entry.sizes if (value := size.read(names, weights.shape)) is not None]
        if values:
            completed[entry.name] = values[0]
        elif entry.required and config is None:
            raise BuildError(
                f"{source.folder}: {entry.name}: no config.json, and {format_list(map(str, entry.sizes))} not found, "
                f"which states the value; add config.json, or --set {entry.name}=N"
            )
    return completed


def _is_open(entry: ConfigName, spec: Spec, config: Mapping[str, Any]) -> bool:
    """Return whether a name has a value neither in the config nor by `--set`, and shapes may state it."""
    if not entry.sizes or entry.name not in spec.read or entry.name in spec.overrides.config:
        return False
    return all(value_at(config, key) is None for key in entry.keys)
