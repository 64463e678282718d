"""Sizes and weight tables of specs, without numpy: `archc check` answers at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from archc.archspec import BoundSpec, Spec


def required_names(spec: Spec) -> list[str]:
    """Return the config names without a value in the spec, which a size or a checkpoint must set."""
    overridden = spec.overrides.config
    return [
        name for name, entry in spec.names.config.items() if entry.required and name in spec.read - overridden.keys()
    ]


def bind_some_size(spec: Spec, size: str | None) -> BoundSpec:
    """Bind a spec at `size`, or without one by its defaults, or else at the first of its sizes.

    Raises ArchspecError if it has neither.
    """
    if size is None and spec.sizes and required_names(spec):
        size = next(iter(spec.sizes))
    return spec.bind(size=size)


def missing_entries(bound: BoundSpec, names: Iterable[str]) -> list[str]:
    """Return the slots without an entry in the spec's weight table, those of all layers and experts as one."""
    from archc.archspec.weights.bound_table import generic_key

    missing = {generic_key(name): None for name in names if not bound.weights.find(name)}
    return list(missing)
