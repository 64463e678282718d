"""Weights as signed integers around zero, the form that DequantizeLinear turns back: integer · scale.

Scales are positive and no zero point is stored, as TensorRT wants it; integers go from −(2^(bits−1) − 1) to its
opposite. A scale belongs to an output, or to `block` inputs of an output. Matrices are [N, K] in the model and [K, N]
in the graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir
import torch
from torch import Tensor

from compiler.quantization import Bits
from compiler.weights import BLOCK_BYTES, WeightTensor

_TORCH = {ir.DataType.FLOAT: torch.float32, ir.DataType.FLOAT16: torch.float16, ir.DataType.BFLOAT16: torch.bfloat16}


@dataclass(frozen=True)
class Scheme:
    """How many bits an integer has, and how many inputs share a scale; all of an output's where that is None."""

    bits: Bits
    block: int | None

    @property
    def largest(self) -> int:
        """The largest integer."""
        return int(2 ** (self.bits - 1)) - 1

    def scales(self, rows_NK: Tensor, dtype: torch.dtype) -> Tensor:
        """Scales [N, 1] or [N, K/block], in the numbers that the graph's dtype has."""
        blocks = rows_NK.unflatten(-1, (-1, self.block or rows_NK.shape[-1]))
        scales = blocks.abs().amax(-1) / self.largest
        # Of a block of zeros, or of numbers too small for the dtype, the scale is never used.
        rounded = scales.to(dtype)
        return torch.where(rounded > 0, rounded, torch.ones_like(rounded))

    def integers(self, rows_NK: Tensor, dtype: torch.dtype) -> Tensor:
        """Integers int8 [N, K], made with the scales as the graph has them."""
        scales = self.scales(rows_NK, dtype).float().unsqueeze(-1)
        blocks = rows_NK.unflatten(-1, (scales.shape[1], -1))
        return (blocks / scales).round_().clamp_(-self.largest, self.largest).to(torch.int8).flatten(1)


class SignedScales(WeightTensor):
    """The scales of a matrix [N, K], in its own dtype: [N], or [K/block, N]."""

    def __init__(self, weight: WeightTensor, scheme: Scheme) -> None:
        rows, columns = map(int, weight.shape)
        shape = (rows,) if scheme.block is None else (columns // scheme.block, rows)
        super().__init__(weight.slot, shape, weight.dtype, weight.steps, f".signed{scheme.bits}.scale")
        self.weight, self.scheme = weight, scheme

    def blocks(self, value: Tensor, dtype: torch.dtype) -> Iterator[Tensor]:
        """All of them at once: they are a small part of the matrix."""
        parts = [self.scheme.scales(rows, dtype) for rows in self.weight.blocks(value, torch.float32)]
        scales = torch.cat(parts)
        yield scales.squeeze(-1) if self.scheme.block is None else scales.t().contiguous()


class SignedValues(WeightTensor):
    """The integers of a matrix [N, K], transposed: int8 [K, N], or int4, two in a byte along N."""

    def __init__(self, weight: WeightTensor, scheme: Scheme) -> None:
        rows, columns = map(int, weight.shape)
        kind = ir.DataType.INT8 if scheme.bits == 8 else ir.DataType.INT4
        super().__init__(weight.slot, (columns, rows), kind, weight.steps, f".signed{scheme.bits}")
        self.weight, self.scheme = weight, scheme

    def blocks(self, value: Tensor, dtype: torch.dtype) -> Iterator[Tensor]:
        """Bytes, a block of the transposed matrix's rows at a time."""
        scale_dtype = _TORCH[self.weight.dtype]
        parts = [self.scheme.integers(rows, scale_dtype) for rows in self.weight.blocks(value, torch.float32)]
        integers_NK = torch.cat(parts)
        for columns in integers_NK.t().split(max(1, BLOCK_BYTES // len(integers_NK))):
            yield columns.contiguous() if self.scheme.bits == 8 else packed(columns)


def packed(integers: Tensor) -> Tensor:
    """int8 [..., N] → uint8 [..., N/2]: of two 4-bit integers in a byte, the first is the low half."""
    bits = integers.view(torch.uint8) if integers.is_contiguous() else integers.contiguous().view(torch.uint8)
    return (bits[..., 0::2] & 15) | (bits[..., 1::2] << 4)
