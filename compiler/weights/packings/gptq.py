"""GPTQ (Frantar et al. 2022), as AutoGPTQ and GPTQModel store it.

`qweight` int32 [K · bits / 32, N] is packed along the inputs, `qzeros` int32 [G, N · bits / 32] along the outputs;
`scales` [G, N]; `g_idx` int32 [K] is the group of each input. The format `gptq` stores zero points less one, `gptq_v2`
as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from archc.archspec.errors import clip as clipped
from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.weights import Weights
from archc.compiler.weights.packings.bits import unpack, word_range
from archc.compiler.weights.packings.grouped import SCALE_DTYPES, Groups, consecutive
from archc.compiler.weights.packings.packing import PackedTensor, expect_shape, read_number

_WORD = 32
_BITS = (2, 3, 4, 8)
_FORMATS = {"gptq": 1, "gptq_v2": 0}  # the number that was subtracted from zero points
_ENDS = (".qweight", ".qzeros", ".scales", ".g_idx")


@dataclass(frozen=True)
class GptqWeight:
    """A weight [N, K] in the four tensors of a linear layer."""

    weights: Weights
    layer: str
    shape: tuple[int, int]
    bits: int
    group: int
    below: int  # added to stored zero points
    order: Tensor | None  # the group of each input, where groups are not consecutive

    @property
    def parts(self) -> tuple[str, ...]:
        """The stored tensors."""
        names = [self.layer + end for end in _ENDS]
        return tuple(name for name in names if name in self.weights.names())

    @property
    def size(self) -> int | None:
        """The number of consecutive inputs in a group; None with act-order."""
        return self.group if self.order is None else None

    def rows(self, start: int, stop: int) -> Tensor:
        """Return rows [start, stop) in float32."""
        of_input = consecutive(self.shape[1], self.group) if self.order is None else self.order
        return self.groups(start, stop).widen(of_input)

    def groups(self, start: int, stop: int) -> Groups:
        """Return rows [start, stop) as they are stored."""
        qweight, _, scales, _ = (self.layer + end for end in _ENDS)
        words, groups = self.weights.shape(qweight)[0], self.weights.shape(scales)[0]
        integers = unpack(self.weights.read(qweight, (slice(0, words), slice(start, stop))).t(), self.bits)
        factors = self.weights.read(scales, (slice(0, groups), slice(start, stop))).float().t()
        return Groups(integers, factors, self.zeros(start, stop))

    @property
    def scale_dtype(self) -> torch.dtype | None:
        """The dtype of the scales."""
        return SCALE_DTYPES.get(self.weights.dtype(f"{self.layer}.scales"))

    def zeros(self, start: int, stop: int) -> Tensor:
        """Return zero points [N, G] of rows [start, stop)."""
        qzeros = f"{self.layer}.qzeros"
        groups = self.weights.shape(qzeros)[0]
        span, before = word_range(start, stop, self.bits, self.weights.shape(qzeros)[1])
        zeros = unpack(self.weights.read(qzeros, (slice(0, groups), span)), self.bits)[
            :, before : before + stop - start
        ]
        # Zero itself is stored as the largest integer, of which one more is zero again.
        return ((zeros.int() + self.below) & (2**self.bits - 1)).t()


def find_gptq(weights: Weights, config: Mapping[str, Any]) -> dict[str, PackedTensor]:
    """Return the weights of the layers that are stored as `qweight`, `qzeros` and `scales`."""
    layers = [name.removesuffix(".qweight") for name in weights.names() if name.endswith(".qweight")]
    if not layers:
        return {}
    stored_format = config.get("checkpoint_format") or config.get("format") or "gptq"
    if stored_format not in _FORMATS:
        raise BuildError(
            f"quantization config: checkpoint_format: {stored_format!r:.60} is not supported; supported are "
            f"{', '.join(_FORMATS)}"
        )
    bits = read_number(config, ("bits",), _BITS)
    size = read_number(config, ("group_size",))
    if bits is None or size is None or (size < 1 and size != -1):
        raise BuildError(
            "quantization config: a GPTQ checkpoint needs bits and group_size (a positive number, or -1 for one "
            "group); add quantize_config.json"
        )
    # GPTQModel's `dynamic` has bits and group sizes of its own for some layers.
    choices = _BITS if config.get("dynamic") else (bits,)
    return {f"{layer}.weight": _layer(weights, layer, bits, size, choices, _FORMATS[stored_format]) for layer in layers}


def _layer(weights: Weights, layer: str, bits: int, size: int, choices: tuple[int, ...], below: int) -> GptqWeight:
    qweight, qzeros, scales, g_idx = (layer + end for end in _ENDS)
    stored = tuple(weights.shape(qweight))
    if len(stored) != 2 or weights.dtype(qweight) != "I32":
        raise BuildError(f"tensor '{clipped(qweight)}' {list(stored)}: expected packed integers in a matrix of int32")
    words, rows = stored
    columns = words * _WORD // bits
    if g_idx in weights.names():
        if len(weights.shape(g_idx)) != 1 or weights.dtype(g_idx) not in ("I32", "I64"):
            raise BuildError(f"tensor '{clipped(g_idx)}' {list(weights.shape(g_idx))}: expected a vector of integers")
        columns = weights.shape(g_idx)[0]
    bits = next((choice for choice in choices if columns and words * _WORD == columns * choice), 0)
    if not bits:
        raise BuildError(
            f"tensor '{clipped(qweight)}' has shape {list(stored)}, which does not hold {columns} integers of "
            f"{' or '.join(map(str, choices))} bits for each output; use the quantization config of this checkpoint"
        )
    expect_shape(weights, scales, (count := _group_count(weights, scales), rows), f"{layer}.weight")
    expect_shape(weights, qzeros, (count, rows * bits // _WORD), f"{layer}.weight")
    order: Tensor | None = None
    if g_idx in weights.names():
        groups = weights.read(g_idx).long()
        if not 0 <= int(groups.min()) <= int(groups.max()) < count:
            raise BuildError(
                f"tensor '{clipped(g_idx)}' has groups out of range of '{clipped(scales)}' {[count, rows]}; "
                "download it again"
            )
        size = -(-columns // count)
        order = None if torch.equal(groups, consecutive(columns, size)) else groups
    else:
        size = columns if size == -1 else size
        if -(-columns // size) != count:
            raise BuildError(
                f"tensor '{clipped(scales)}' has {count} groups, expected {-(-columns // size)} of {size} of the "
                f"{columns} inputs of '{clipped(layer)}.weight'; use the quantization config of this checkpoint"
            )
    return GptqWeight(weights, layer, (rows, columns), bits, size, below, order)


def _group_count(weights: Weights, scales: str) -> int:
    return next(iter(weights.shape(scales)), 0) if scales in weights.names() else 0
