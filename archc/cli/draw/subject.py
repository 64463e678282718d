"""The model of a figure and its numbers, by way of the listing of `archc inspect`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from archc.cli.console import UsageError, note
from archc.draw.totals import AtLength, Totals, lengths, parameters_by_part

if TYPE_CHECKING:
    from archc.archspec import BoundSpec
    from archc.archspec.vocabulary import Layer
    from archc.cli.inspect.listing import Listing
    from archc.plan import State

_SPEC_SUFFIXES = (".yaml", ".yml")
_QUANTIZED = (".scale", ".zero")


@dataclass(frozen=True)
class Subject:
    """A model with all sizes known, its listing and numbers, and the name of its file."""

    bound: BoundSpec
    listing: Listing
    totals: Totals
    stem: str


def read_subject(name: str, size: str | None, overrides: Sequence[str], ignore_config: Sequence[str]) -> Subject:
    """Return the model of a spec, a plan, a checkpoint or an ONNX folder.

    Raises UsageError for options without effect, ArchspecError for a spec that does not bind, PlanError for a plan that
    is damaged.
    """
    from archc.compiler.weights.checkpoint.folder import is_checkpoint
    from archc.plan.ownership import has_manifest

    path = Path(name)
    is_folder = has_manifest(path)
    if is_folder or (path.is_file() and path.suffix not in _SPEC_SUFFIXES and not is_checkpoint(path)):
        for option, value in (("--size", size), ("--set", overrides), ("--ignore-config", ignore_config)):
            if value:
                raise UsageError(f"{option} has no effect on a plan, because its sizes are fixed; remove it")
        return _plan(path, is_folder)
    if not path.exists() and path.suffix == ".plan":
        raise UsageError(f"{name}: no such file")
    return _spec(name, size, list(overrides), list(ignore_config))


def _spec(name: str, size: str | None, overrides: list[str], ignore_config: list[str]) -> Subject:
    from archc.archspec import load_spec
    from archc.cli.inspect.binding import bind_some_size
    from archc.cli.inspect.collect import list_spec
    from archc.compiler.contract.inputs_outputs import graph_state
    from archc.compiler.contract.shared_inputs import find_shared_inputs
    from archc.compiler.weights.checkpoint.folder import is_checkpoint

    if is_checkpoint(name):
        bound = _checkpoint(name, size, overrides, ignore_config)
    else:
        if ignore_config:
            raise UsageError("--ignore-config has no effect without a checkpoint's config.json; remove it")
        bound = bind_some_size(load_spec(name, overrides), size)
        if bound.size is not None and size is None:
            note(f"{bound.family} has no default sizes; drawing {bound.size} (choose with --size)")
    listing = list_spec(bound, None)
    states = graph_state(bound, find_shared_inputs(bound), "float16")
    counts = [(row.name, row.count) for row in listing.rows]
    totals = _totals(bound, listing, counts, states, "float16", bound.context)
    path = Path(name)
    stem = path.stem if path.is_file() else path.name or bound.family
    return Subject(bound, listing, totals, f"{stem}-{bound.size}" if size is not None else stem)


def _checkpoint(name: str, size: str | None, overrides: list[str], ignore_config: list[str]) -> BoundSpec:
    from archc.compiler.build import bind
    from archc.compiler.weights.checkpoint.containers import read_checkpoint_config
    from archc.compiler.weights.checkpoint.folder import local_source

    source = local_source(Path(name))
    config = read_checkpoint_config(source.folder)
    return bind(source.folder, config, size, overrides, ignore_config, source)


def _plan(path: Path, is_folder: bool) -> Subject:
    from archc.cli.inspect.collect import list_plan
    from archc.plan import Plan
    from archc.plan.ownership import folder_manifest
    from archc.verify.plan_spec import bind_plan

    if is_folder:
        manifest = folder_manifest(path)
    else:
        with Plan(path) as plan:
            manifest = plan.manifest
    bound = bind_plan(manifest, str(path))
    listing = list_plan(manifest, bound, {})
    # Blocks of 4 bits are stored as bytes of two; scales and zero points are no parameters.
    counts = [
        (row.name, row.count * (2 if row.name.endswith(".int4") else 1))
        for row in listing.rows
        if not row.name.endswith(_QUANTIZED)
    ]
    totals = _totals(bound, listing, counts, manifest.state, manifest.dtype, manifest.limits.max_seq_len)
    return Subject(bound, listing, totals, path.stem if not is_folder else path.name)


def _totals(
    bound: BoundSpec,
    listing: Listing,
    counts: Sequence[tuple[str, int]],
    states: Sequence[State],
    dtype: str,
    context: int,
) -> Totals:
    from archc.bench.costs import state_bytes
    from archc.plan.axes import has_slots

    windowed = [_with_window(state, bound.layers) for state in states]
    in_windows = sum(state_bytes(state, 1) for state in windowed if state.window is not None)
    grows = sum(state_bytes(state, 1) for state in windowed if state.window is None and has_slots(state.shape))
    fixed = [
        state
        for state in windowed
        if state.window is None and not has_slots(state.shape) and "source" not in state.shape
    ]

    def at(length: int) -> AtLength:
        operations = listing.flops_per_token + _attention_flops(bound, length)
        return AtLength(length, sum(state_bytes(state, length) for state in windowed), operations // 2)

    return Totals(
        parameters=listing.parameters,
        by_part=parameters_by_part(counts),
        active=_active(bound, listing.parameters, counts),
        state_dtype=dtype,
        state_per_token=grows + in_windows,
        state_fixed=sum(state_bytes(state, 1) for state in fixed),
        state_per_source_token=sum(state_bytes(state, 1) for state in windowed if "source" in state.shape),
        state_in_windows=in_windows,
        by_length=tuple(map(at, lengths(context))),
        curve=tuple(map(at, sorted({1, *_bends(bound, windowed, context), context}))),
    )


def _bends(bound: BoundSpec, states: Sequence[State], context: int) -> set[int]:
    """Return the lengths below the context at which a window or a selection of keys is full."""
    mixers = [layer.attention for layer in bound.layers if layer.attention is not None]
    widths = {state.window for state in states} | {getattr(attention, "window", None) for attention in mixers}
    widths |= {getattr(attention.indexer, "keys", None) for attention in mixers}
    bends = {width for width in widths if width is not None}
    return {length for width in bends for length in (width, 2 * width + 1) if length < context}


def _with_window(state: State, layers: Sequence[Layer]) -> State:
    """Return a KV cache of a layer with a window as a ring buffer of that width; any other state as it is."""
    from msgspec.structs import replace

    if state.kind != "kv" or not state.input.startswith("past_key_values."):
        return state
    window = getattr(layers[int(state.input.split(".")[1])].attention, "window", None)
    return state if window is None else replace(state, kind="ring", window=window)


def _attention_flops(bound: BoundSpec, length: int) -> int:
    """Return the FLOPs of a token's attention to a sequence, and to a source, of that length."""
    from archc.archspec.vocabulary import BlockIndexer, KeyIndexer, PooledBlockIndexer
    from archc.cli.inspect.listing import attention_flops

    causal = (bound.direction or ("both" if bound.topology == "encoder" else "past")) == "past"
    flops, selected = 0, length
    for layer in bound.layers:
        attention = layer.attention
        if attention is not None:
            window = getattr(attention, "window", None)
            visible = length if window is None else min(length, window if causal else 2 * window + 1)
            if isinstance(attention.indexer, KeyIndexer):
                flops += 2 * attention.indexer.heads * attention.indexer.head_dim * visible
                selected = attention.indexer.keys
            elif isinstance(attention.indexer, BlockIndexer | PooledBlockIndexer):
                indexer = attention.indexer
                scored = visible // indexer.block if isinstance(indexer, PooledBlockIndexer) else visible
                flops += 2 * indexer.heads * indexer.head_dim * scored
                selected = indexer.block * indexer.blocks
            if attention.indexer is not None:
                visible = min(visible, selected)
            flops += attention_flops(attention) * visible
        if layer.cross_attention is not None:
            flops += 4 * layer.cross_attention.heads * layer.cross_attention.head_dim * length
    return flops


def _active(bound: BoundSpec, parameters: int, counts: Sequence[tuple[str, int]]) -> int | None:
    """Return the parameters that one token uses; None without experts."""
    unused = 0.0
    routed = False
    for name, count in counts:
        parts = name.split(".")
        if "experts" in parts and parts[0] == "layers":
            mixture = getattr(bound.layers[int(parts[1])], parts[2])  # `mlp` or `shortcut`
            routed = True
            unused += count * (1 - mixture.per_token / mixture.experts)
    return parameters - round(unused) if routed else None
