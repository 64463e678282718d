"""The layout of weights.bin, and its bytes: weights are streamed in order, none is in memory as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

import onnx_ir as ir
import torch

from archc.compiler.contract.dtypes import dtype_name
from archc.compiler.errors import BuildError
from archc.compiler.weights.formats.format import QuantizedTensor
from archc.compiler.weights.group import Group
from archc.compiler.weights.lazy import WeightTensor, all_finite
from archc.compiler.weights.slots import Slots
from archc.plan import Tensor

WEIGHTS = "weights.bin"
# Tensors start at multiples of this: of a memory page if they are large, so that mapping one touches no neighbor.
_ALIGNMENT, _PAGE, _LARGE = 64, 4096, 65536
_ROWS = 4096  # rows of a tensor that are read at a time to find what is wrong with it

Progress = Callable[[str, int, int], None]
"""Called with the name of the current tensor, the bytes written so far, and the total bytes."""


class Sink(Protocol):
    """A destination of bytes."""

    def write(self, data: memoryview, /) -> int:
        """Append bytes and return how many."""


@dataclass(frozen=True)
class Listener:
    """Callbacks of a build: its progress, and warnings about the weights."""

    progress: Progress = lambda name, done, total: None
    warn: Callable[[str], None] = lambda message: None


@dataclass(frozen=True)
class Stored:
    """A weight and its place in weights.bin."""

    weight: WeightTensor
    tensor: Tensor


def assign_offsets(*models: ir.Model) -> list[Stored]:
    """Assign every weight of the graphs a place in weights.bin, and point its initializers there.

    Initializers of one name share their place, and weights of the same slots are neighbors: what is computed for one
    of them and needed for another is soon written.
    """
    stored, end = list[Stored](), 0
    places: dict[str, ir.ExternalTensor] = {}
    groups: dict[tuple[str, ...], list[tuple[ir.Value, WeightTensor]]] = {}
    for value in (value for model in models for value in model.graph.initializers.values()):
        if isinstance(weight := value.const_value, WeightTensor):
            groups.setdefault(weight.slots, []).append((value, weight))
    for value, weight in (member for group in groups.values() for member in group):
        assert value.name is not None
        if value.name in places:
            value.const_value = places[value.name]
            continue
        size = int(weight.nbytes)
        boundary = _PAGE if size >= _LARGE else _ALIGNMENT
        offset = -(-end // boundary) * boundary
        value.const_value = places[value.name] = ir.ExternalTensor(
            WEIGHTS, offset, size, weight.dtype, shape=ir.Shape(weight.sizes), name=value.name, base_dir=""
        )
        dtype = dtype_name(weight.dtype)
        stored.append(Stored(weight, Tensor(value.name, weight.sizes, dtype, offset, size)))
        end = offset + size
    return stored


def total_bytes(stored: Sequence[Stored]) -> int:
    """Return the size of weights.bin."""
    return stored[-1].tensor.offset + stored[-1].tensor.bytes if stored else 0


def stream_weights(stored: Sequence[Stored], slots: Slots, sink: Sink, listener: Listener) -> None:
    """Write every weight at its place. Raises BuildError for an element that the dtype cannot represent."""
    position, total = 0, total_bytes(stored)
    quantized = any(isinstance(part, QuantizedTensor) for item in stored for part in item.weight.in_parts())
    for _, items in groupby(stored, key=lambda item: item.weight.slots):
        members = list(items)
        group = Group([item.weight for item in members], slots.open, slots.open_stored)
        for item in members:
            listener.progress(item.tensor.name, position, total)
            sink.write(memoryview(bytes(item.tensor.offset - position)))
            position = item.tensor.offset
            for part in item.weight.in_parts():
                for data in _checked(group, part, item.tensor.dtype, quantized, listener):
                    position += sink.write(data)
    listener.progress("", total, total)


def _checked(group: Group, part: WeightTensor, dtype: str, quantized: bool, listener: Listener) -> Iterator[memoryview]:
    """Yield the bytes of a part; warn of NaN and infinities in the checkpoint, refuse those of a narrower dtype.

    Refused are all of them in a `quantized` plan, whose products would hide them behind finite numbers.
    """
    finite = True
    for block in group.blocks(part):
        finite = finite and all_finite(block)
        # Flat first: torch keeps a stride of a single row or column that no other dtype can be viewed through.
        yield block.reshape(-1).view(torch.uint8).numpy().data
    if finite:
        return
    rows = group.rows(part)
    if all(all_finite(some) for some in rows.split(_ROWS)):
        largest = max(float(some.float().abs().max()) for some in rows.split(_ROWS))
        raise BuildError(f"{part.slot}: the value {largest:g} overflows {dtype}; build with --dtype float32")
    if quantized:
        raise BuildError(f"{part.slot}: the checkpoint has NaN or infinite values; build without --quantize")
    listener.warn(f"{part.slot}: the checkpoint has NaN or infinite values")
