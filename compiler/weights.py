"""Weights in the graph: which tensor of the model an initializer holds, and how its bytes come about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir
import torch
from torch import Tensor

# How much of a converted weight is in memory at once.
BLOCK_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Transposed:
    """Swaps the two axes of a matrix."""

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape that comes out."""
        return shape[::-1]

    def apply(self, value: Tensor) -> Tensor:
        """A view of the same numbers."""
        return value.t()


@dataclass(frozen=True)
class Offset:
    """Adds a constant to every element."""

    amount: float

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape that comes out."""
        return shape

    def apply(self, value: Tensor) -> Tensor:
        """The sum, in float32."""
        return value.float() + self.amount


Step = Transposed | Offset


class WeightTensor(ir.LazyTensor):
    """An initializer without bytes: slot `slot` of the model, through `steps`, in `dtype`."""

    def __init__(
        self, slot: str, shape: Sequence[int], dtype: ir.DataType, steps: tuple[Step, ...] = (), suffix: str = ""
    ) -> None:
        # The slot's name, marked where the bytes differ from the slot's.
        name = ".".join([slot, *(type(step).__name__.lower() for step in steps)]) + suffix
        super().__init__(self._refuse, dtype=dtype, shape=ir.Shape(shape), name=name)
        self.slot, self.steps = slot, steps

    def _refuse(self) -> ir.TensorProtocol:
        raise RuntimeError(f"{self.name} has no bytes yet: weights are streamed when the plan is written")

    def then(self, step: Step) -> WeightTensor:
        """The same weight with one more step."""
        shape = step.shape(tuple(int(size) for size in self.shape))
        return WeightTensor(self.slot, shape, self.dtype, (*self.steps, step))

    def blocks(self, value: Tensor, dtype: torch.dtype) -> Iterator[Tensor]:
        """The initializer's numbers, made from the slot's: contiguous blocks of rows, so that memory stays bounded."""
        for step in self.steps:
            value = step.apply(value)
        rows = max(1, BLOCK_BYTES // max(1, value[0].numel() * dtype.itemsize)) if value.ndim > 1 else value.shape[0]
        for block in value.split(rows):
            yield block.to(dtype).contiguous()
