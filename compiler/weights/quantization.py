"""Weights in fewer bits: how numbers become integers and scales, a block of rows at a time.

Every scheme is symmetric: a weight is integer · scale, and no zero point is stored. Integers of one row come from that
row alone, so that a matrix of any size streams.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir
import torch
from torch import Tensor

from archc.compiler.weights.lazy import BLOCK_BYTES, TORCH_DTYPES, RowSource, WeightTensor

Bits = Literal[4, 8]


# A block's scale is at most so many of its row's units: times −8, the least integer of 4 bits, it still fits in 8.
MOST_UNITS = 15


def quantize_blocks(
    rows_NK: Tensor, bits: Bits, block: int, dtype: torch.dtype = torch.float32, units_N1: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """float32 [N, K] → unsigned integers uint8 [N, K/block, block] around 2^(bits−1), and scales [N, K/block] in dtype.

    The number of largest magnitude in a block becomes −2^(bits−1), the one integer that has no opposite: of 16 values
    a scale by the magnitude alone would leave one unused. With `units_N1`, scales are whole multiples of them.
    """
    half = 2 ** (bits - 1)
    blocks = rows_NK.unflatten(-1, (-1, block))
    largest = blocks.gather(-1, blocks.abs().argmax(-1, keepdim=True))
    scales = largest / -half
    if units_N1 is not None:
        scales = _count_units(scales.squeeze(-1), units_N1).mul_(units_N1).unsqueeze(-1)
    scales = scales.to(dtype)
    steps = blocks / torch.where(scales == 0, 1.0, scales).float()
    integers = steps.round_().clamp_(-half, half - 1).add_(half).to(torch.uint8)
    return integers, scales.squeeze(-1)


def row_units(rows_NK: Tensor, bits: Bits) -> Tensor:
    """The number of each row that its blocks' scales are multiples of, float32 [N, 1]."""
    return rows_NK.abs().amax(-1, keepdim=True) / (2 ** (bits - 1) * MOST_UNITS)


def _count_units(scales: Tensor, units_N1: Tensor) -> Tensor:
    """How many units a scale is, rounded up so that a block's largest number still fits; it keeps its sign."""
    counts = (scales.abs() / torch.where(units_N1 == 0, 1.0, units_N1)).ceil_().clamp_(max=MOST_UNITS)
    return counts.copysign_(scales)


def pack(integers: Tensor, bits: Bits) -> Tensor:
    """uint8 [..., K] → [..., K · bits / 8]: of two 4-bit integers in a byte, the first is the low half."""
    return integers if bits == 8 else integers[..., 0::2] | (integers[..., 1::2] << 4)


def block_size(columns: int) -> int | None:
    """Columns a scale, the most of 128 that divides a row; None where no kernel takes a divisor of it."""
    return next((size for size in (128, 64, 32, 16) if columns % size == 0), None)


@dataclass
class Blocks:
    """A matrix [N, K] as integers and scales by blocks of a row, which are made together while its rows stream by.

    With `in_units`, a row's scales are whole multiples of one number, its unit.
    """

    weight: WeightTensor  # [N, K]
    bits: Bits
    block: int
    in_units: bool = False
    scales: Tensor | None = None  # [N, K/block]
    units: Tensor | None = None  # float32 [N, 1]

    def stream(self, value: Tensor | RowSource) -> Iterator[Tensor]:
        """Packed integers uint8 [rows, K/block, block · bits / 8], and as a side effect the scales and units."""
        count, columns = map(int, self.weight.shape)
        dtype = TORCH_DTYPES[self.weight.dtype]
        # Taken before what comes and goes with each block, so that they do not keep its memory in pieces.
        scales, units = torch.empty((count, columns // self.block), dtype=dtype), torch.empty((count, 1))
        at = 0
        for rows in self.weight.blocks(value, torch.float32):
            here = slice(at, at + len(rows))
            if self.in_units:
                units[here] = row_units(rows, self.bits)
            integers, scales[here] = quantize_blocks(
                rows, self.bits, self.block, dtype, units[here] if self.in_units else None
            )
            at += len(rows)
            yield pack(integers, self.bits).contiguous()
        self.scales, self.units = scales, units

    def made(self, value: Tensor | RowSource) -> tuple[Tensor, Tensor]:
        """The scales, and the units where they have them: there if the integers were written before, as in a build."""
        if self.scales is None:
            for _ in self.stream(value):
                continue
        assert self.scales is not None
        assert self.units is not None
        return self.scales, self.units

    def forget(self) -> None:
        """Lets go of them, once all are written."""
        self.scales = self.units = None


class BlockValues(WeightTensor):
    """The integers of a matrix in blocks, uint8 [N, K/block, block · bits / 8]."""

    def __init__(self, blocks: Blocks) -> None:
        rows, columns = map(int, blocks.weight.shape)
        shape = (rows, columns // blocks.block, blocks.block * blocks.bits // 8)
        super().__init__(blocks.weight.slot, shape, ir.DataType.UINT8, blocks.weight.steps, f".int{blocks.bits}")
        self.matrix = blocks

    @property
    def slots(self) -> tuple[str, ...]:
        """The matrix's."""
        return self.matrix.weight.slots

    def blocks(self, value: Tensor | RowSource, dtype: torch.dtype) -> Iterator[Tensor]:
        """Bytes, a block of rows at a time."""
        return self.matrix.stream(value)


class BlockScales(WeightTensor):
    """The scales of a matrix in blocks, in its own dtype [N, K/block]; written after its integers."""

    def __init__(self, blocks: Blocks) -> None:
        rows, columns = map(int, blocks.weight.shape)
        shape = (rows, columns // blocks.block)
        super().__init__(
            blocks.weight.slot, shape, blocks.weight.dtype, blocks.weight.steps, f".int{blocks.bits}.scale"
        )
        self.matrix = blocks

    @property
    def slots(self) -> tuple[str, ...]:
        """The matrix's."""
        return self.matrix.weight.slots

    def blocks(self, value: Tensor | RowSource, dtype: torch.dtype) -> Iterator[Tensor]:
        """The scales that were found while the integers were written."""
        yield self.matrix.made(value)[0]
        if not self.matrix.in_units:
            self.matrix.forget()


class BlockUnits(WeightTensor):
    """The unit of each row of a matrix in blocks, float32 [N]; written after its scales."""

    def __init__(self, blocks: Blocks) -> None:
        shape = (int(blocks.weight.shape[0]),)
        super().__init__(blocks.weight.slot, shape, ir.DataType.FLOAT, blocks.weight.steps, f".int{blocks.bits}.unit")
        self.matrix = blocks

    @property
    def slots(self) -> tuple[str, ...]:
        """The matrix's."""
        return self.matrix.weight.slots

    def blocks(self, value: Tensor | RowSource, dtype: torch.dtype) -> Iterator[Tensor]:
        """The units that were found while the integers were written."""
        yield self.matrix.made(value)[1].squeeze(-1)


class BlockCounts(WeightTensor):
    """How many units each block's scale is, int8 [N, K/block, 1]; written after the units, and the last of them."""

    def __init__(self, blocks: Blocks) -> None:
        rows, columns = map(int, blocks.weight.shape)
        shape = (rows, columns // blocks.block, 1)
        super().__init__(blocks.weight.slot, shape, ir.DataType.INT8, blocks.weight.steps, f".int{blocks.bits}.count")
        self.matrix = blocks

    @property
    def slots(self) -> tuple[str, ...]:
        """The matrix's."""
        return self.matrix.weight.slots

    def blocks(self, value: Tensor | RowSource, dtype: torch.dtype) -> Iterator[Tensor]:
        """All of them as one block."""
        scales, units = self.matrix.made(value)
        yield (scales / torch.where(units == 0, 1.0, units)).round_().to(torch.int8).unsqueeze(-1)
        self.matrix.forget()


class ColumnScales(WeightTensor):
    """A scale for each of the N outputs of a matrix [N, K]: its largest magnitude over 127, float32 [N]."""

    def __init__(self, weight: WeightTensor) -> None:
        super().__init__(weight.slot, (int(weight.shape[0]),), ir.DataType.FLOAT, weight.steps, ".column.scale")
        self.weight = weight

    @property
    def slots(self) -> tuple[str, ...]:
        """The matrix's."""
        return self.weight.slots

    def blocks(self, value: Tensor | RowSource, dtype: torch.dtype) -> Iterator[Tensor]:
        """The scales, a block of rows at a time."""
        for rows in self.weight.blocks(value, torch.float32):
            yield _column_scales(rows)


class ColumnValues(WeightTensor):
    """The integers of a matrix [N, K] with a scale for each output, transposed: int8 [K, N]."""

    def __init__(self, weight: WeightTensor) -> None:
        rows, columns = map(int, weight.shape)
        super().__init__(weight.slot, (columns, rows), ir.DataType.INT8, weight.steps, ".column")
        self.weight = weight

    @property
    def slots(self) -> tuple[str, ...]:
        """The matrix's."""
        return self.weight.slots

    def blocks(self, value: Tensor | RowSource, dtype: torch.dtype) -> Iterator[Tensor]:
        """The transposed integers as one block; they are a quarter of the matrix in float32."""
        integers = torch.empty(tuple(map(int, self.weight.shape)), dtype=torch.int8)
        start = 0
        for rows in self.weight.blocks(value, torch.float32):
            scales = _column_scales(rows).unsqueeze(-1)
            steps = rows / torch.where(scales == 0, 1.0, scales)
            integers[start : start + len(rows)] = steps.round_().to(torch.int8)
            start += len(rows)
        for columns in integers.t().split(max(1, BLOCK_BYTES // len(integers))):
            yield columns.contiguous()


def _column_scales(rows_NK: Tensor) -> Tensor:
    return rows_NK.abs().amax(-1) / 127
