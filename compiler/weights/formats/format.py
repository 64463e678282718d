"""The protocol of stored formats: a matrix becomes several tensors, computed together in one pass over its rows."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import onnx_ir as ir
import torch
from torch import Tensor

from archc.compiler.contract.dtypes import storage_dtype, torch_dtype
from archc.compiler.errors import BuildError
from archc.compiler.weights.lazy import BLOCK_BYTES, RowSource, StackedWeight, WeightTensor, all_finite, rows_within
from archc.compiler.weights.steps import Step

Bits = Literal[4, 8]


@dataclass(frozen=True)
class Part:
    """One tensor of a format: `row` is the shape of the elements per matrix row, `transposed` puts rows last."""

    suffix: str
    dtype: ir.DataType
    row: tuple[int, ...] = ()
    transposed: bool = False

    def shape(self, rows: int) -> tuple[int, ...]:
        """Return the stored shape for a matrix of so many rows."""
        return (*self.row, rows) if self.transposed else (rows, *self.row)

    def buffer(self, rows: int) -> Tensor:
        """Return uninitialized memory for all rows, before they are packed and transposed."""
        return torch.empty((rows, *self.row), dtype=storage_dtype(self.dtype))

    def stored(self, values: Tensor) -> Iterator[Tensor]:
        """Yield the stored blocks of computed rows: of all rows if the part is transposed."""
        if self.transposed:
            values = values.t()
        for block in values.split(rows_within(BLOCK_BYTES, values.shape, values.dtype)):
            block = block.contiguous()
            yield pack(block & 15, 4) if self.dtype == ir.DataType.INT4 else block


class Format(Protocol):
    """A stored format of matrices [out, in]: a frozen dataclass of what distinguishes its variants."""

    def parts(self, weight: WeightTensor) -> Mapping[str, Part]:
        """Return the tensors that hold a matrix [N, K], or each of a stack [E, N, K], by their roles.

        Raises ValueError if the format does not fit the shape.
        """

    def quantize(self, rows_NK: Tensor, dtype: torch.dtype) -> Mapping[str, Tensor]:
        """Return the elements of each part for some float32 rows; `dtype` is that of the weight in the graph."""

    def tensors(self, weight: WeightTensor) -> dict[str, WeightTensor]:
        """Return the initializers that hold a matrix, joined rows or a stack of matrices, by their roles."""
        parts = self.parts(weight)
        if not isinstance(weight, StackedWeight):
            return {role: QuantizedTensor(QuantizedMatrix(weight, self), role) for role in parts}
        matrices = [QuantizedMatrix(matrix, self) for matrix in weight.in_parts()]
        return {
            role: QuantizedStack(
                f"{weight.name}{part.suffix}",
                [QuantizedTensor(matrix, role) for matrix in matrices],
                part.shape(weight.sizes[1]),
            )
            for role, part in parts.items()
        }


@dataclass(frozen=True)
class QuantizedMatrix:
    """A matrix [N, K] in a format: what its tensors have in common."""

    weight: WeightTensor
    format: Format

    def compute(
        self, rows: Iterable[Tensor], first: str, others: Sequence[str] = ()
    ) -> Generator[Tensor, None, dict[str, Tensor]]:
        """Yield the stored blocks of one part, and return the rows of other parts, in one pass over float32 rows.

        Raises BuildError for NaN and infinite values.
        """
        parts, count = self.format.parts(self.weight), self.weight.sizes[0]
        streamed = not parts[first].transposed
        # Allocated before the temporary tensors of each block, so that these leave no fragmented memory behind.
        kept = {role: parts[role].buffer(count) for role in (*others, *([] if streamed else [first]))}
        start = 0
        for block in rows:
            if not all_finite(block):
                raise BuildError(
                    f"{self.weight.slot}: the checkpoint has NaN or infinite values, which integers cannot represent; "
                    "build without --quantize"
                )
            values = self.format.quantize(block, torch_dtype(self.weight.dtype))
            for role, buffer in kept.items():
                buffer[start : start + len(block)] = values[role].reshape(len(block), *parts[role].row)
            if streamed:
                yield from parts[first].stored(values[first].reshape(len(block), *parts[first].row))
            start += len(block)
        if not streamed:
            yield from parts[first].stored(kept.pop(first))
        return kept


class QuantizedTensor(WeightTensor):
    """One tensor of a quantized matrix."""

    def __init__(self, matrix: QuantizedMatrix, role: str) -> None:
        weight, part = matrix.weight, matrix.format.parts(matrix.weight)[role]
        super().__init__(weight.slot, part.shape(weight.sizes[0]), part.dtype, weight.steps, part.suffix)
        self.matrix, self.role, self.part = matrix, role, part

    @property
    def slots(self) -> tuple[str, ...]:
        """The slots of the matrix."""
        return self.matrix.weight.slots

    def then(self, step: Step) -> WeightTensor:
        """Raise ValueError: stored elements are final."""
        raise ValueError(f"{self.name}: {step} must be applied before the weight is quantized")

    def blocks(self, value: Tensor | RowSource, dtype: torch.dtype | None = None) -> Iterator[Tensor]:
        """Yield the stored blocks, from a pass over the matrix for this tensor alone."""
        yield from self.matrix.compute(self.matrix.weight.blocks(value, torch.float32), self.role)


class QuantizedStack(WeightTensor):
    """One tensor of each of several quantized matrices, along a new first axis."""

    def __init__(self, name: str, parts: Sequence[WeightTensor], shape: Sequence[int]) -> None:
        super().__init__(name, (len(parts), *shape), parts[0].dtype)
        self.parts = tuple(parts)

    @property
    def slots(self) -> tuple[str, ...]:
        """The slots of the matrices in order."""
        return tuple(slot for part in self.parts for slot in part.slots)

    def in_parts(self) -> tuple[WeightTensor, ...]:
        """Return the tensor of each matrix."""
        return self.parts


def pack(integers: Tensor, bits: Bits) -> Tensor:
    """Return uint8 [..., K · bits / 8] of uint8 [..., K]; the first of two 4-bit integers is the low half of a byte."""
    return integers if bits == 8 else integers[..., 0::2] | (integers[..., 1::2] << 4)
