"""Symmetric quantization for DequantizeLinear: int8 or float8 per output channel, int4 per block of inputs.

weight = element · prescale · scale, with positive scales and no zero point, as TensorRT requires. Integers lie in
[−(2^(bits−1) − 1), 2^(bits−1) − 1], float8 (E4M3: 4 bits of exponent, 3 of mantissa; Micikevicius et al. 2022) in
[−448, 448]. A matrix [N, K] of the model is stored as [K, N] for a product with activations, and as [N, K] for a table
whose rows are looked up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir
import torch
from torch import Tensor

from archc.compiler.contract.dtypes import storage_dtype
from archc.compiler.weights.formats.blocks import block_size
from archc.compiler.weights.formats.format import Format, Part
from archc.compiler.weights.lazy import WeightTensor

NumberFormat = Literal["int8", "int4", "fp8"]


@dataclass(frozen=True)
class _Numbers:
    """The elements of a number format.

    Elements times `prescale` lie in [−1/8, 1/8], as most weights do: products with them are of the size of the results,
    which float16 must represent, and scales are close to one.
    """

    dtype: ir.DataType
    largest: float
    prescale: float


_NUMBERS: Mapping[NumberFormat, _Numbers] = {
    "int8": _Numbers(ir.DataType.INT8, 127, 2**-10),
    "int4": _Numbers(ir.DataType.INT4, 7, 1.0),
    "fp8": _Numbers(ir.DataType.FLOAT8E4M3FN, torch.finfo(torch.float8_e4m3fn).max, 2**-12),
}


@dataclass(frozen=True)
class SymmetricFormat(Format):
    """Elements of a number format with a scale per `block` inputs of an output; per output if it is None."""

    kind: NumberFormat
    block: int | None = None
    transposed: bool = True

    @classmethod
    def fitting(cls, kind: NumberFormat, rows: int, columns: int, transposed: bool = True) -> SymmetricFormat | None:
        """Return the format for matrices [rows, columns], or None if int4 has no block size or odd rows of bytes."""
        if kind != "int4":
            return cls(kind, None, transposed)
        block = block_size(columns)
        return None if block is None or (rows if transposed else columns) % 2 else cls(kind, block, transposed)

    @property
    def dtype(self) -> ir.DataType:
        """The ONNX type of the elements."""
        return _NUMBERS[self.kind].dtype

    @property
    def prescale(self) -> float:
        """The power of two that all elements are multiplied by, in addition to the scales."""
        return _NUMBERS[self.kind].prescale

    def parts(self, weight: WeightTensor) -> Mapping[str, Part]:
        """Return `elements` and `scales` in the weight's dtype: [N], or [K/block, N]; [N, K/block] if not transposed.

        A stack [E, N, K] has scales [E, 1, N] without blocks. Raises ValueError if blocks or bytes do not divide.
        """
        *stack, rows, columns = weight.sizes
        packed = rows if self.transposed else columns
        if self.block is not None and columns % self.block:
            raise ValueError(f"{weight.name}: {columns} columns are not a multiple of the block size {self.block}")
        if self.kind == "int4" and packed % 2:
            raise ValueError(f"{weight.name}: rows of {packed} 4-bit elements do not fill whole bytes")
        blocks = () if self.block is None else (columns // self.block,)
        suffix = f".symmetric.{self.kind}" if self.transposed else f".rows.symmetric.{self.kind}"
        return {
            "elements": Part(suffix, self.dtype, (columns,), self.transposed),
            "scales": Part(f"{suffix}.scale", weight.dtype, blocks or (1,) * len(stack), self.transposed),
        }

    def quantize(self, rows_NK: Tensor, dtype: torch.dtype) -> Mapping[str, Tensor]:
        """Return the bytes of elements [N, K], and scales [N, K/block] or [N, 1] in `dtype`."""
        scales = self.scales(rows_NK, dtype)
        return {"elements": self.elements(rows_NK, scales).view(storage_dtype(self.dtype)), "scales": scales}

    def scales(self, rows_NK: Tensor, dtype: torch.dtype) -> Tensor:
        """Return scales [N, 1] or [N, K/block], rounded to the dtype of the graph."""
        columns = rows_NK.shape[-1]
        block = self.block or columns
        scales = rows_NK.unflatten(-1, (columns // block, block)).abs().amax(-1)
        rounded = (scales / (_NUMBERS[self.kind].largest * self.prescale)).to(dtype)
        # Zeros, or elements below the smallest number of the dtype, are stored as zeros whatever the scale.
        return torch.where(rounded > 0, rounded, torch.ones_like(rounded))

    def elements(self, rows_NK: Tensor, scales: Tensor) -> Tensor:
        """Return int8 or float8 [N, K], divided by the scales as the graph has them."""
        blocks = (scales.shape[1], rows_NK.shape[-1] // scales.shape[1])
        steps = rows_NK.unflatten(-1, blocks) / (self.prescale * scales.float().unsqueeze(-1))
        largest = _NUMBERS[self.kind].largest
        if self.kind == "fp8":
            return steps.clamp_(-largest, largest).to(torch.float8_e4m3fn).flatten(1)
        return steps.round_().clamp_(-largest, largest).to(torch.int8).flatten(1)
