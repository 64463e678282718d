"""A checkpoint seen through a spec's weight table: its tensors become the slots of a model."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from archc.archspec import BoundSpec
from archc.archspec.vocabulary import NoHead, Pooling
from archc.archspec.weights.resolve import Resolution, TensorRef
from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.module_weights import module_sources
from archc.compiler.weights.checkpoint.weights import Weights
from archc.compiler.weights.formats.format import QuantizedTensor
from archc.compiler.weights.formats.stored_blocks import StoredBlocks, StoredGroups
from archc.compiler.weights.lazy import RowSource, WeightTensor
from archc.compiler.weights.packings.packing import PackedWeights
from archc.compiler.weights.slots import Slots, slot_shapes
from archc.compiler.weights.steps import Select, apply_steps, is_rowwise, shape_after

# Tensors of more bytes are read a range of rows at a time.
_LARGE = 128 * 2**20


class SlotReader:
    """The slots of a model; each is read from the checkpoint when it is needed.

    Raises BuildError if a slot's shape does not follow from the shapes of its tensors.
    """

    def __init__(self, weights: Weights, resolution: Resolution, slots: Mapping[str, tuple[int, ...]]) -> None:
        self.weights, self.resolution, self.slots = weights, resolution, slots
        for name in slots:
            self._check_shape(name)

    def names(self) -> Collection[str]:
        """Return the names of all slots."""
        return self.slots.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a slot."""
        return self.slots[name]

    def open(self, name: str) -> Tensor | RowSource:
        """Return a slot's tensor, or the source of its rows if it is large and its steps are rowwise."""
        source = self.resolution.sources[name]
        first = source.names[0]
        if not is_rowwise(source.steps) or self.weights.bytes(first) <= _LARGE:
            return self.read(name)
        rows = RowSource(self.slots[name], lambda start, stop: self.weights.read(first, (slice(start, stop),)))
        return rows.map(source.steps)

    def read(self, name: str) -> Tensor:
        """Return a slot's tensor; of a stacked tensor that holds it at an index, only that part is read."""
        source = self.resolution.sources[name]
        names, steps = source.names, source.steps
        if steps and isinstance(first := steps[0], Select) and first.axis == 0:
            return apply_steps([self.weights.read(tensor, first.index) for tensor in names], steps[1:])
        return apply_steps([self.weights.read(tensor) for tensor in names], steps)

    def find_groups(self, name: str) -> StoredGroups | None:
        """Return the groups of a slot that is stored in 4-bit integers, row by row as the slot is; else None."""
        source = self.resolution.sources[name]
        if not isinstance(self.weights, PackedWeights) or source.steps:
            return None
        return self.weights.find_groups(source.names[0])

    def open_stored(self, name: str) -> RowSource:
        """Return the rows of a slot with groups: integers [K], scales [G] and zero points [G] each."""
        assert isinstance(self.weights, PackedWeights)
        return self.weights.open_stored(self.resolution.sources[name].names[0])

    def _check_shape(self, name: str) -> None:
        source, expected = self.resolution.sources[name], list(self.slots[name])
        tensors = ", ".join(f"'{tensor}' {list(self.weights.shape(tensor))}" for tensor in source.names)
        try:
            shape = list(shape_after([self.weights.shape(tensor) for tensor in source.names], source.steps))
        except ValueError as error:
            raise BuildError(f"{name}: cannot apply the weight-table steps to {tensors}: {error}") from None
        if shape != expected:
            raise BuildError(
                f"{name}: the spec expects shape {expected}, but {tensors} of the checkpoint becomes {shape}; use the "
                "config of this checkpoint, or correct the spec"
            )


def describe_widened(slots: Slots, tensors: Iterable[WeightTensor]) -> str | None:
    """Return a sentence on the packed weights of a checkpoint that a plan's tensors do not hold as they are stored."""
    if not isinstance(slots, SlotReader) or not isinstance(packed := slots.weights, PackedWeights):
        return None
    parts = [part for tensor in tensors for part in tensor.in_parts()]
    stored = {
        name
        for part in parts
        if isinstance(part, QuantizedTensor) and isinstance(part.matrix.format, StoredBlocks)
        for slot in part.slots
        for name in slots.resolution.sources[slot].names
    }
    used = {name for part in parts for slot in part.slots for name in slots.resolution.sources[slot].names}
    widened = [name for name in packed.packed if name in used - stored]
    if not widened:
        return None
    others = f", {len(stored)} go over as they are stored" if stored else ""
    return (
        f"{len(widened)} weights are stored quantized ({packed.packing}) and are widened{others}; their accuracy is "
        "that of the checkpoint, whatever the plan's dtype"
    )


def tied_slots(model: torch.nn.Module) -> dict[str, str]:
    """Return the names of parameters that are shared with another: {"head.weight": "embedding.tokens.weight"}."""
    first = {id(parameter): name for name, parameter in model.named_parameters()}
    every = model.named_parameters(remove_duplicate=False)
    return {name: first[id(parameter)] for name, parameter in every if first[id(parameter)] != name}


def token_tables(spec: BoundSpec) -> Collection[str]:
    """Return the checkpoint's names of the modules with a row for each token: embedding and head."""
    entries = [spec.weights.entries.get(name) for name in ("embedding.tokens", "head")]
    return [name for entry in entries if entry is not None for name in entry.names]


def map_checkpoint(spec: BoundSpec, model: torch.nn.Module, weights: Weights, where: Path) -> SlotReader:
    """Return the slots of a checkpoint; no tensor is read but repeated ones, which must equal those they are tied to.

    Raises WeightsError if names do not match, and BuildError if shapes do not, or if tied tensors differ.
    """
    slots = slot_shapes(model)
    own = module_sources(spec, where, weights.names())
    names = [name for name in without_replaced(spec, weights.names(), bool(own)) if name not in own.values()]
    listed = {name: shape for name, shape in slots.items() if name not in own}
    resolution = spec.weights.resolve(listed, names, ties=tied_slots(model), checkpoint=str(where))
    sources = {**resolution.sources, **{slot: TensorRef((name,)) for slot, name in own.items()}}
    resolution = replace(resolution, sources=sources)
    ids = {name for name, parameter in model.named_parameters() if not parameter.is_floating_point()}
    floats = (source for slot, source in resolution.sources.items() if slot not in ids)
    weights.check_numbers(name for source in floats for name in source.names)
    reader = SlotReader(weights, resolution, slots)
    _check_selected(resolution, weights, where)
    for duplicate, slot in resolution.tied_duplicates.items():
        if not torch.equal(weights.read(duplicate), reader.read(slot)):
            raise BuildError(
                f"{where}: '{duplicate}' differs from the tensor of {slot}, but the config ties the two; "
                f"build with --set {_tie_of(duplicate, spec)}=false to use both"
            )
    return reader


def without_replaced(spec: BoundSpec, names: Collection[str], has_modules: bool) -> Collection[str]:
    """Return the names without the weights of the family's pooler, if a pooling without weights replaces it, or one
    with those of modules of its own, and without those of its head, if the spec has none.
    """
    pools = isinstance(spec.pooler, Pooling) and (has_modules or spec.pooler.dense is None)
    replaced = {"pooler": pools, "head": isinstance(spec.head, NoHead)}
    modules = [
        f"{prefix}{name}"
        for key, entry in spec.weights.entries.items()
        if replaced.get(key.partition(".")[0])
        for prefix in ("", *spec.weights.prefixes)
        for name in entry.names
    ]
    return [name for name in names if not any(f"{name}.".startswith(f"{module}.") for module in modules)]


def _tie_of(duplicate: str, spec: BoundSpec) -> str:
    """Return the key that ties a checkpoint tensor to another: of the encoder's token table, or of the head."""
    tokens = spec.weights.entries.get("encoder.embedding.tokens")
    names = tokens.names if tokens is not None and spec.encoder is not None else ()
    return "encoder.tie" if any(duplicate.endswith(f"{name}.weight") for name in names) else "head.tie"


def _check_selected(resolution: Resolution, weights: Weights, where: Path) -> None:
    """Raise BuildError if a tensor that is read index by index has indices that no slot reads."""
    selected: dict[str, set[tuple[int, ...]]] = {}
    axes: dict[str, int] = {}
    for source in resolution.sources.values():
        first = next(iter(source.steps), None)
        if isinstance(first, Select):
            for name in source.names:
                selected.setdefault(name, set()).add(first.index)
                axes[name] = first.axis
    for name, indices in selected.items():
        axis, count = axes[name], len(next(iter(indices)))
        total = math.prod(weights.shape(name)[axis : axis + count])
        if len(indices) < total:
            raise BuildError(
                f"{where}: '{name}' {list(weights.shape(name))} has {total} indices from axis {axis} on, and the "
                f"weight table reads {len(indices)} of them; use the config of this checkpoint, or correct the spec"
            )
