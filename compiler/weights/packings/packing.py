"""The protocol of packings, and a checkpoint whose packed weights are presented as float tensors.

A packed weight is several stored tensors, such as integers, scales and zero points. It is presented under the name that
the unquantized checkpoint has for it, and widened to float32 a range of rows at a time: stored numbers have at most 8
bits and scales at most 24, so a product of the two is rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from archc.archspec.errors import clip as clipped
from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.weights import Place, Weights
from archc.compiler.weights.formats.stored_blocks import MIDDLE, StoredGroups
from archc.compiler.weights.lazy import BLOCK_BYTES, RowSource, rows_within
from archc.compiler.weights.packings.grouped import GroupedTensor

# Scales of activations and of a KV cache, which kernels with quantized activations read; float products have none.
_ACTIVATIONS = (
    ".input_scale",
    ".input_zero_point",
    ".input_global_scale",
    ".activation_scale",
    ".input_scale_ub",
    ".output_scale",
    ".q_scale",
    ".k_scale",
    ".v_scale",
)


class PackedTensor(Protocol):
    """A weight that is stored in several tensors."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the widened weight."""

    @property
    def parts(self) -> Collection[str]:
        """The names of the stored tensors."""

    def rows(self, start: int, stop: int) -> Tensor:
        """Return a range along the first axis in float32."""


Find = Callable[[Weights, Mapping[str, Any]], dict[str, PackedTensor]]
"""Returns the packed weights of a checkpoint, by the names that they are presented under; the mapping is the
quantization config. Raises BuildError for a part that is missing or does not fit."""


@dataclass(frozen=True)
class Packing:
    """A way to store weights: its name in messages, and the function that finds the weights stored that way."""

    name: str
    find: Find


class PackedWeights:
    """The tensors of a checkpoint with packed weights; each is widened to float32 where it is read."""

    def __init__(self, stored: Weights, packed: Mapping[str, PackedTensor], packing: str) -> None:
        self.stored, self.packed, self.packing = stored, packed, packing
        hidden = {part for tensor in packed.values() for part in tensor.parts}
        plain = [name for name in stored.names() if name not in hidden and not name.endswith(_ACTIVATIONS)]
        self._names = dict.fromkeys([*plain, *packed])

    def find_groups(self, name: str) -> StoredGroups | None:
        """Return the groups of a weight [N, K] that is stored in 4-bit integers of consecutive inputs; else None."""
        weight: object = self.packed.get(name)
        if not isinstance(weight, GroupedTensor) or weight.bits != 4 or weight.size is None:
            return None
        if weight.scale_dtype is None or weight.shape[1] % weight.size:
            return None
        zeros = weight.zeros(0, weight.shape[0])
        symmetric = bool((zeros == MIDDLE).all()) if isinstance(zeros, Tensor) else zeros == MIDDLE
        return StoredGroups(weight.size, weight.scale_dtype, symmetric)

    def open_stored(self, name: str) -> RowSource:
        """Return the rows of a weight with groups: integers [K], scales [G] and zero points [G] each."""
        weight = self.packed[name]
        assert isinstance(weight, GroupedTensor)
        assert weight.size is not None
        rows, columns = weight.shape
        width = columns + 2 * (columns // weight.size)
        return RowSource((rows, width), lambda start, stop: weight.groups(start, stop).joined())

    def names(self) -> Collection[str]:
        """Return the names of all tensors, packed weights by the names of the weights."""
        return self._names.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor."""
        return self.packed[name].shape if name in self.packed else self.stored.shape(name)

    def bytes(self, name: str) -> int:
        """Return the size of a tensor in bytes, as it is read."""
        if name in self.packed:
            return math.prod(self.packed[name].shape) * torch.float32.itemsize
        return self.stored.bytes(name)

    def dtype(self, name: str) -> str:
        """Return the dtype of a tensor, as it is read, by its name in safetensors."""
        return "F32" if name in self.packed else self.stored.dtype(name)

    def check_numbers(self, names: Iterable[str]) -> None:
        """Raise BuildError if one of these tensors has a dtype that no weight may have."""
        self.stored.check_numbers(name for name in names if name not in self.packed)

    def read(self, name: str, place: Place = ()) -> Tensor:
        """Return a tensor, or its part at a place along its first axes; only the part of a packed weight is widened.

        Raises ValueError for a place out of bounds.
        """
        if name not in self.packed:
            return self.stored.read(name, place)
        weight = self.packed[name]
        first = place[0] if place else slice(0, weight.shape[0])
        start, stop = (first.start, first.stop) if isinstance(first, slice) else (first, first + 1)
        if len(place) > len(weight.shape) or not 0 <= start <= stop <= weight.shape[0]:
            raise ValueError(f"index {list(place)} is out of bounds for axes {list(weight.shape[: len(place)])}")
        rows = torch.empty((stop - start, *weight.shape[1:]))
        step = rows_within(BLOCK_BYTES, weight.shape, torch.float32)
        for begin in range(start, stop, step):
            end = min(begin + step, stop)
            rows[begin - start : end - start] = weight.rows(begin, end)
        return rows[(slice(None) if isinstance(first, slice) else 0, *place[1:])]


def expect_shape(weights: Weights, name: str, shape: tuple[int, ...], of: str) -> None:
    """Raise BuildError unless a stored tensor exists and has a shape; `of` names the weight that it is a part of."""
    if name not in weights.names():
        raise BuildError(f"tensor '{clipped(name)}' of the packed weight '{clipped(of)}' not found; download it again")
    if tuple(weights.shape(name)) != shape:
        raise BuildError(
            f"tensor '{clipped(name)}' has shape {list(weights.shape(name))}, expected {list(shape)} for the packed "
            f"weight '{clipped(of)}'; use the quantization config of this checkpoint, or download it again"
        )


def read_number(config: Mapping[str, Any], keys: Iterable[str], allowed: Collection[int] | None = None) -> int | None:
    """Return the integer at the first of several keys that a quantization config has, or None.

    Raises BuildError for another type, or a value that is not allowed.
    """
    for key in keys:
        value = config.get(key)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or (allowed is not None and value not in allowed):
            choices = "an integer" if allowed is None else ", ".join(map(str, sorted(allowed)))
            raise BuildError(f"quantization config: {key}: expected {choices}, got {value!r:.60}")
        return value
    return None
