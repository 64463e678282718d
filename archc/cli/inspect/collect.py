"""Listings from a bound spec, by way of the compiler's meta model, and from a plan's manifest, without it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archc.cli.inspect.listing import Listing
from archc.cli.inspect.module_tree import TensorRow
from archc.plan.dtypes import DTYPES, DTypeName
from archc.plan.state_bytes import state_bytes

if TYPE_CHECKING:
    from archc.archspec import BoundSpec
    from archc.plan import Manifest, State

_SHOWN_DTYPES: tuple[DTypeName, ...] = ("float32", "float16")


def list_spec(bound: BoundSpec, checkpoint: Path | None) -> Listing:
    """Return the listing of a bound spec; with a checkpoint folder, its tensors have their names there.

    Raises WeightsError or BuildError if the checkpoint does not fill the model.
    """
    from archc.compiler.contract.inputs_outputs import graph_state
    from archc.compiler.contract.shared_inputs import find_shared_inputs
    from archc.compiler.structure.model import structure

    parts = structure(bound)
    sources: dict[str, str] = {}
    outside = 0
    if checkpoint is not None:
        from archc.compiler.modules.model import meta_model
        from archc.compiler.weights.checkpoint.module_weights import open_checkpoint
        from archc.compiler.weights.checkpoint.names import map_checkpoint

        model = meta_model(bound)
        resolution = map_checkpoint(bound, model, open_checkpoint(bound, checkpoint), checkpoint).resolution
        outside = len(resolution.outside)
        sources = {slot: " + ".join(source.names) for slot, source in resolution.sources.items()}
    return Listing(
        kind="spec",
        family=bound.family,
        description=bound.description,
        topology=bound.topology,
        context=bound.context,
        size=bound.size,
        rows=tuple(TensorRow(name, shape, source=sources.get(name)) for name, shape in parts.slots()),
        parameters=parts.parameters,
        weight_bytes={name: parts.parameters * DTYPES[name].nbytes(1) for name in _SHOWN_DTYPES},
        **_state_bytes({name: graph_state(bound, find_shared_inputs(bound), name) for name in _SHOWN_DTYPES}),
        outside=outside,
        source_context=bound.encoder.context if bound.encoder is not None else 0,
        flops_per_token=parts.total_flops,
        bound=bound,
    )


def list_plan(manifest: Manifest, bound: BoundSpec | None, more: dict[str, Any]) -> Listing:
    """Return the listing of a plan, from its manifest alone."""
    return Listing(
        kind="plan",
        family=manifest.family,
        description=bound.description if bound is not None else "",
        topology=manifest.topology,
        context=manifest.limits.max_seq_len,
        size=None,
        rows=tuple(TensorRow(tensor.name, tensor.shape, tensor.dtype) for tensor in manifest.tensors),
        parameters=manifest.parameters,
        weight_bytes={manifest.dtype: sum(tensor.bytes for tensor in manifest.tensors)} if manifest.tensors else {},
        engines={
            part.engine.file: manifest.entries[part.engine.file].bytes
            for part in (manifest, manifest.encoder)
            if part is not None and part.engine is not None and part.engine.file in manifest.entries
        },
        **_state_bytes({manifest.dtype: manifest.state}, manifest.limits.max_call),
        outside=0,
        source_context=manifest.encoder.limits.max_seq_len if manifest.encoder is not None else 0,
        flops_per_token=manifest.flops_per_token,
        bound=bound,
        more=more,
    )


def _state_bytes(by_dtype: Mapping[str, Iterable[State]], max_call: int | None = None) -> dict[str, dict[str, int]]:
    """Return bytes of state by the model's dtype: per token, per source token, and fixed; a ring at its maximum."""
    sums = {dtype: state_bytes(states, max_call) for dtype, states in by_dtype.items()}
    return {
        "state_per_token": {dtype: each.per_token for dtype, each in sums.items()},
        "state_per_source_token": {dtype: each.per_source_token for dtype, each in sums.items()},
        "state_fixed": {dtype: each.fixed for dtype, each in sums.items()},
    }
