"""Block quantization: unsigned 4- or 8-bit integers and one scale per block of a row, for MatMulNBits and
GatherBlockQuantized.

weight = (integer − 2^(bits−1)) · scale. With two levels, scale = row_scale · multiple for an int8 multiple, so that a
row can be unpacked to 8-bit integers without loss: weight = ((integer − 8) · multiple) · row_scale. QLoRA's double
quantization (Dettmers et al. 2023, section 3) quantizes scales likewise, to save memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir
import torch
from torch import Tensor

from archc.compiler.weights.formats.format import Bits, Format, Part, pack
from archc.compiler.weights.lazy import WeightTensor

# Times −8, the least 4-bit integer, the largest multiple of a row scale still fits 8 bits.
MAX_MULTIPLE = 15
_BLOCK_SIZES = (128, 64, 32, 16)


def block_size(columns: int) -> int | None:
    """Return the largest block of up to 128 columns that divides a row, or None if no kernel supports a divisor."""
    return next((size for size in _BLOCK_SIZES if columns % size == 0), None)


@dataclass(frozen=True)
class BlockFormat(Format):
    """Blocks of `block` columns with one scale each; `two_level` scales are multiples of a row scale."""

    bits: Bits
    block: int
    two_level: bool = False

    def parts(self, weight: WeightTensor) -> Mapping[str, Part]:
        """Return `integers` [N, K/block, block · bits / 8], `scales` [N, K/block] and, with two levels, `row_scales`
        float32 [N] and `multiples` [N, K/block, 1].

        Raises ValueError if the block does not divide K.
        """
        columns, suffix = weight.sizes[-1], f".int{self.bits}"
        if columns % self.block:
            raise ValueError(f"{weight.name}: {columns} columns are not a multiple of the block size {self.block}")
        blocks = columns // self.block
        parts = {
            "integers": Part(suffix, ir.DataType.UINT8, (blocks, self.block * self.bits // 8)),
            "scales": Part(f"{suffix}.scale", weight.dtype, (blocks,)),
        }
        if self.two_level:
            parts["row_scales"] = Part(f"{suffix}.row_scale", ir.DataType.FLOAT)
            parts["multiples"] = Part(f"{suffix}.multiple", ir.DataType.INT8, (blocks, 1))
        return parts

    def quantize(self, rows_NK: Tensor, dtype: torch.dtype) -> Mapping[str, Tensor]:
        """Return packed integers, scales in `dtype`, and the two levels of the scales."""
        row_scales_N1 = row_scales(rows_NK, self.bits) if self.two_level else None
        integers, scales = quantize_blocks(rows_NK, self.bits, self.block, dtype, row_scales_N1)
        values = {"integers": pack(integers, self.bits), "scales": scales}
        if row_scales_N1 is not None:
            multiples = (scales / nonzero(row_scales_N1)).round_().to(torch.int8)
            values |= {"row_scales": row_scales_N1, "multiples": multiples}
        return values


def quantize_blocks(
    rows_NK: Tensor,
    bits: Bits,
    block: int,
    dtype: torch.dtype = torch.float32,
    row_scales_N1: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return integers uint8 [N, K/block, block] and scales [N, K/block] in `dtype`, of float32 [N, K].

    The element of largest magnitude in a block becomes −2^(bits−1), the one integer without an opposite: a scale by
    the magnitude alone would leave one of 16 values unused. With row scales, scales are whole multiples of them.
    """
    half = 2 ** (bits - 1)
    blocks = rows_NK.unflatten(-1, (rows_NK.shape[-1] // block, block))
    largest = blocks.gather(-1, blocks.abs().argmax(-1, keepdim=True))
    scales = largest / -half
    if row_scales_N1 is not None:
        scales = _round_up(scales.squeeze(-1), row_scales_N1).mul_(row_scales_N1).unsqueeze(-1)
    scales = scales.to(dtype)
    steps = blocks / nonzero(scales).float()
    integers = steps.round_().clamp_(-half, half - 1).add_(half).to(torch.uint8)
    return integers, scales.squeeze(-1)


def row_scales(rows_NK: Tensor, bits: Bits) -> Tensor:
    """Return the scale of each row that its blocks' scales are multiples of, float32 [N, 1]."""
    return rows_NK.abs().amax(-1, keepdim=True) / (2 ** (bits - 1) * MAX_MULTIPLE)


def _round_up(scales: Tensor, row_scales_N1: Tensor) -> Tensor:
    """Return signed multiples of the row scales, rounded away from zero so that a block's largest element fits."""
    multiples = (scales.abs() / nonzero(row_scales_N1)).ceil_().clamp_(max=MAX_MULTIPLE)
    return multiples.copysign_(scales)


def nonzero(scales: Tensor) -> Tensor:
    """Return scales with 1 in place of 0: the scale of zeros only, which must not be divided by."""
    return torch.where(scales == 0, 1.0, scales)
