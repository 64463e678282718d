"""Weights of 8 bits with scales: FP8 (DeepSeek-AI 2024, section 3.3) and int8, by blocks, rows or the whole tensor.

weight[n, k] = element[n, k] · scale[n // height, k // width]. Blocks at the lower and right edges may be cut off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from archc.archspec.errors import clip as clipped
from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.weights import FLOATS, Weights
from archc.compiler.weights.packings.packing import PackedTensor

_FP8 = ("F8_E4M3", "F8_E5M2")
_SCALES = (*FLOATS, "F8_E8M0")
# The suffixes of scales; all of them multiply, "inv" is the inverse of the factor before quantization.
_SUFFIXES = ("_scale_inv", "_scale")


@dataclass(frozen=True)
class ScaledWeight:
    """A matrix [N, K], or a stack [E, N, K], of elements with a scale for each `block` (height, width)."""

    weights: Weights
    element: str
    scale: str
    block: tuple[int, int]
    zero_point: str | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the elements."""
        return self.weights.shape(self.element)

    @property
    def parts(self) -> tuple[str, ...]:
        """The elements, the scales and the zero points."""
        return (self.element, self.scale, *([self.zero_point] if self.zero_point else []))

    def rows(self, start: int, stop: int) -> Tensor:
        """Return rows [start, stop) in float32, or matrices of a stack."""
        values = self.weights.read(self.element, (slice(start, stop),)).float()
        if self.zero_point is not None:
            values -= self._spread(self.zero_point, start, stop)
        return values.mul_(self._spread(self.scale, start, stop))

    def _spread(self, name: str, start: int, stop: int) -> Tensor:
        """Return the scales of the elements of some rows; one column if they are one for a row."""
        height, width = self.block
        *stack, rows, columns = self.shape
        lines = (torch.arange(rows) if stack else torch.arange(start, stop)) // height
        if stack:
            scales = self.weights.read(name, (slice(start, stop),)).float()
        elif len(self.weights.shape(name)) < 2:
            scales = self.weights.read(name).float().reshape(-1, 1)
        else:
            first = start // height
            scales = self.weights.read(name, (slice(first, -(-stop // height)),)).float()
            lines -= first
        scales = scales.index_select(-2, lines)
        return scales if scales.shape[-1] == 1 else scales.repeat_interleave(width, -1)[..., :columns]


def find_fp8(weights: Weights, config: Mapping[str, Any]) -> dict[str, PackedTensor]:
    """Return the FP8 weights that have scales: `weight_scale_inv` or `weight_scale`."""
    found: dict[str, PackedTensor] = {}
    for name in weights.names():
        if weights.dtype(name) in _FP8:
            scale = next((name + suffix for suffix in _SUFFIXES if name + suffix in weights.names()), None)
            if scale is not None:
                found[name] = scaled_weight(weights, name, scale, read_block(config))
    return found


def read_block(config: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return `weight_block_size` of a quantization config: the rows and columns of a block, or None."""
    block = config.get("weight_block_size")
    if block is None:
        return None
    if not isinstance(block, list) or len(block) != 2 or not all(type(size) is int and size > 0 for size in block):
        raise BuildError(f"quantization config: weight_block_size: expected [rows, columns], got {block!r:.60}")
    return block[0], block[1]


def scaled_weight(
    weights: Weights, name: str, scale: str, block: tuple[int, int] | None, zero_point: str | None = None
) -> ScaledWeight:
    """Return a weight whose scales are one for the tensor, one per row, or one per block of the given size.

    Raises BuildError if the scales have another shape or no float dtype.
    """
    shape, stored = tuple(weights.shape(name)), tuple(weights.shape(scale))
    if len(shape) not in (2, 3):
        raise BuildError(f"tensor '{clipped(name)}' has shape {list(shape)}, expected a matrix or a stack of matrices")
    if weights.dtype(scale) not in _SCALES:
        raise BuildError(f"tensor '{clipped(scale)}' has dtype {weights.dtype(scale)}, expected scales in float")
    *stack, rows, columns = shape
    whole = {(*stack, 1, 1), *([(), (1,)] if not stack else [])}
    per_row = {(*stack, rows, 1), *([(rows,)] if not stack else [])}
    if block is not None and stored == (*stack, -(-rows // block[0]), -(-columns // block[1])):
        return ScaledWeight(weights, name, scale, block, zero_point)
    if stored in whole:
        return ScaledWeight(weights, name, scale, (rows, columns), zero_point)
    if stored in per_row:
        return ScaledWeight(weights, name, scale, (1, columns), zero_point)
    expected = "one for each row, or one"
    if block is not None:
        grid = [*stack, -(-rows // block[0]), -(-columns // block[1])]
        expected = f"{grid} for blocks of {block[0]}×{block[1]}, one for each row, or one"
    hint = (
        "" if block else "; weight_block_size not found in the quantization config, without which blocks have no size"
    )
    raise BuildError(
        f"tensor '{clipped(scale)}' has shape {list(stored)}, but '{clipped(name)}' has shape {list(shape)}: "
        f"expected {expected}{hint or '; use the quantization config of this checkpoint'}"
    )
