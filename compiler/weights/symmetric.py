"""Weights as small signed numbers around zero, the form that DequantizeLinear turns back: number · unit · scale.

Scales are positive and no zero point is stored, as TensorRT wants it; integers go from −(2^(bits−1) − 1) to its
opposite, and float8 (E4M3: 4 bits of exponent, 3 of mantissa; Micikevicius et al. 2022) from −448 to 448. A scale
belongs to an output, or to `block` inputs of an output. Matrices are [N, K] in the model; in the graph they are turned
to [K, N] where rows are multiplied by them, and lie as they are where rows of their own are looked up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import onnx_ir as ir
import torch
from torch import Tensor

from archc.compiler.weights.lazy import BLOCK_BYTES, TORCH_DTYPES, RowSource, WeightTensor
from archc.compiler.weights.quantization import pack

Form = Literal["int8", "int4", "fp8"]
_LARGEST: Mapping[Form, float] = {"int8": 127, "int4": 7, "fp8": torch.finfo(torch.float8_e4m3fn).max}
# The numbers times this lie between −1/8 and 1/8, as the weights of models mostly do: a product by them is of the size
# of its result, which float16 must hold, and a scale is near one.
_UNIT: Mapping[Form, float] = {"int8": 2**-10, "int4": 1.0, "fp8": 2**-12}
_STORED: Mapping[Form, ir.DataType] = {
    "int8": ir.DataType.INT8,
    "int4": ir.DataType.INT4,
    "fp8": ir.DataType.FLOAT8E4M3FN,
}


@dataclass(frozen=True)
class Scheme:
    """The numbers that are stored, and how many inputs share a scale; all of an output's where that is None."""

    form: Form
    block: int | None

    @property
    def dtype(self) -> ir.DataType:
        """What the graph has."""
        return _STORED[self.form]

    @property
    def unit(self) -> float:
        """What every number of the matrix is multiplied by, beside the scales."""
        return _UNIT[self.form]

    def scales(self, rows_NK: Tensor, dtype: torch.dtype) -> Tensor:
        """Scales [N, 1] or [N, K/block], in the numbers that the graph's dtype has."""
        blocks = rows_NK.unflatten(-1, (-1, self.block or rows_NK.shape[-1]))
        scales = blocks.abs().amax(-1) / (_LARGEST[self.form] * self.unit)
        # Of a block of zeros, or of numbers too small for the dtype, the scale is never used.
        rounded = scales.to(dtype)
        return torch.where(rounded > 0, rounded, torch.ones_like(rounded))

    def numbers(self, rows_NK: Tensor, scales: Tensor) -> Tensor:
        """int8 or float8 [N, K], made with the scales as the graph has them."""
        steps = rows_NK.unflatten(-1, (scales.shape[1], -1)) / (self.unit * scales.float().unsqueeze(-1))
        largest = _LARGEST[self.form]
        if self.form == "fp8":
            return steps.clamp_(-largest, largest).to(torch.float8_e4m3fn).flatten(1)
        return steps.round_().clamp_(-largest, largest).to(torch.int8).flatten(1)


@dataclass
class SignedMatrix:
    """A matrix [N, K] as numbers and scales, which are made together while its rows stream by; `turned` to [K, N], or
    as it lies."""

    weight: WeightTensor
    scheme: Scheme
    turned: bool = True
    scales: list[Tensor] = field(default_factory=list)

    def stream(self, value: Tensor | RowSource) -> Iterator[Tensor]:
        """The numbers [rows, K], and as a side effect their scales."""
        self.scales.clear()
        for rows in self.weight.blocks(value, torch.float32):
            self.scales.append(self.scheme.scales(rows, TORCH_DTYPES[self.weight.dtype]))
            yield self.scheme.numbers(rows, self.scales[-1])

    @property
    def suffix(self) -> str:
        """What marks its parts' names."""
        return f".signed.{self.scheme.form}" if self.turned else f".rows.signed.{self.scheme.form}"


class SignedScales(WeightTensor):
    """A matrix's scales in its own dtype: [N], or [K/block, N]; [N, K/block] where it stays as it lies.

    They are written after its numbers.
    """

    def __init__(self, matrix: SignedMatrix) -> None:
        weight, block = matrix.weight, matrix.scheme.block
        rows, columns = map(int, weight.shape)
        shape: tuple[int, ...] = (rows,)
        if block is not None:
            shape = (columns // block, rows) if matrix.turned else (rows, columns // block)
        super().__init__(weight.slot, shape, weight.dtype, weight.steps, f"{matrix.suffix}.scale")
        self.matrix = matrix

    def blocks(self, value: Tensor | RowSource, dtype: torch.dtype) -> Iterator[Tensor]:
        """All of them at once: they are a small part of the matrix, and were found while its numbers were written."""
        if not self.matrix.scales:
            for _ in self.matrix.stream(value):
                continue
        scales = torch.cat(self.matrix.scales)
        self.matrix.scales.clear()
        if self.matrix.scheme.block is None:
            yield scales.squeeze(-1)
        else:
            yield scales.t().contiguous() if self.matrix.turned else scales


class SignedValues(WeightTensor):
    """A matrix's numbers, transposed to [K, N] or as they lie; int4 has two in a byte along a row."""

    def __init__(self, matrix: SignedMatrix) -> None:
        weight = matrix.weight
        rows, columns = map(int, weight.shape)
        shape = (columns, rows) if matrix.turned else (rows, columns)
        super().__init__(weight.slot, shape, matrix.scheme.dtype, weight.steps, matrix.suffix)
        self.matrix = matrix

    def blocks(self, value: Tensor | RowSource, dtype: torch.dtype) -> Iterator[Tensor]:
        """Bytes, a block of the stored matrix's rows at a time."""
        parts = self.matrix.stream(value)
        if not self.matrix.turned:
            for numbers in parts:
                yield self._stored(numbers)
            return
        numbers_NK = torch.cat([numbers.view(torch.int8) for numbers in parts])
        for columns in numbers_NK.t().split(max(1, BLOCK_BYTES // len(numbers_NK))):
            yield self._stored(columns)

    def _stored(self, numbers: Tensor) -> Tensor:
        return packed(numbers) if self.matrix.scheme.form == "int4" else numbers.contiguous().view(torch.int8)


class SignedStack(WeightTensor):
    """Matrices' numbers, or their scales, one after another along a new first axis."""

    def __init__(self, name: str, parts: Sequence[SignedValues | SignedScales], shape: Sequence[int]) -> None:
        super().__init__(name, (len(parts), *shape), parts[0].dtype)
        self.parts = tuple(parts)

    def in_parts(self) -> tuple[WeightTensor, ...]:
        """One matrix's a slot."""
        return self.parts


def packed(integers: Tensor) -> Tensor:
    """int8 [..., N] → uint8 [..., N/2], the low four bits of each."""
    return pack(integers.contiguous().view(torch.uint8) & 15, 4)
