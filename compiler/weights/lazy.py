"""Weights in the graph: which tensor of the model an initializer holds, and how its bytes come about."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import onnx_ir as ir
import torch
from torch import Tensor

# How much of a converted weight is in memory at once.
BLOCK_BYTES = 16 * 2**20
# The same of one that is turned while it is read: each block reads all of it.
_TURNED_BYTES = 128 * 2**20
# The floating-point types that a graph computes in.
TORCH_DTYPES = {
    ir.DataType.FLOAT: torch.float32,
    ir.DataType.FLOAT16: torch.float16,
    ir.DataType.BFLOAT16: torch.bfloat16,
}


@dataclass(frozen=True)
class Transposed:
    """Swaps the two axes of a matrix, or of each of a stack of matrices."""

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape that comes out."""
        return (*shape[:-2], shape[-1], shape[-2])

    def apply(self, value: Tensor) -> Tensor:
        """A view of the same numbers."""
        return value.transpose(-1, -2)


@dataclass(frozen=True)
class Stacked:
    """Cuts the rows of a matrix into `count` matrices of equal height: one for each head, say."""

    count: int

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape that comes out."""
        return (self.count, shape[0] // self.count, *shape[1:])

    def apply(self, value: Tensor) -> Tensor:
        """A view of the same numbers."""
        return value.unflatten(0, (self.count, -1))


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


Step = Transposed | Stacked | Offset


@dataclass(frozen=True)
class RowSource:
    """A tensor too large to be in memory as a whole; `read` gives its rows from one to before another."""

    shape: tuple[int, ...]
    read: Callable[[int, int], Tensor]

    def split(self, rows: int) -> Iterator[Tensor]:
        """Its rows, so many at a time, as of a Tensor."""
        return (self.read(start, min(start + rows, self.shape[0])) for start in range(0, self.shape[0], rows))


def join_rows(sources: Sequence[Tensor | RowSource]) -> Tensor | RowSource:
    """The rows of several tensors one after another, none of them read before it is asked for."""
    if len(sources) == 1:
        return sources[0]
    ends = list(accumulate(source.shape[0] for source in sources))

    def read(start: int, stop: int) -> Tensor:
        parts = []
        for source, end in zip(sources, ends, strict=True):
            begin = end - source.shape[0]
            first, last = max(start, begin) - begin, min(stop, end) - begin
            if first < last:
                parts.append(source.read(first, last) if isinstance(source, RowSource) else source[first:last])
        return torch.cat(parts)

    return RowSource((ends[-1], *sources[0].shape[1:]), read)


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

    @property
    def slots(self) -> tuple[str, ...]:
        """The slots whose rows, one after another, its numbers are made from."""
        return (self.slot,)

    def in_parts(self) -> tuple[WeightTensor, ...]:
        """The weights that this one is made of, in the order of their bytes: of one slot each, where that can be."""
        return (self,)

    def blocks(self, value: Tensor | RowSource, dtype: torch.dtype) -> Iterator[Tensor]:
        """The initializer's numbers, made from the slot's: contiguous blocks of rows, so that memory stays bounded."""
        if isinstance(value, RowSource) and self.steps == (Transposed(),):
            yield from _turned(value, dtype)
            return
        if isinstance(value, RowSource) and self.steps:
            value = value.read(0, value.shape[0])
        if isinstance(value, Tensor):
            for step in self.steps:
                value = step.apply(value)
        # A checkpoint's dtype is no wider than the plan's: made contiguous first, there are fewer bytes to move.
        for block in value.split(_rows_of(BLOCK_BYTES, value.shape, dtype)):
            yield block.contiguous().to(dtype)


def _rows_of(size: int, shape: Sequence[int], dtype: torch.dtype) -> int:
    """How many rows of a shape have so many bytes; all numbers of a vector."""
    return max(1, size // max(1, math.prod(shape[1:]) * dtype.itemsize)) if len(shape) > 1 else max(1, shape[0])


def _turned(value: RowSource, dtype: torch.dtype) -> Iterator[Tensor]:
    """The columns of a matrix [N, K] as rows, of which each block goes through all of the matrix."""
    count, columns = value.shape
    width = _rows_of(_TURNED_BYTES, (columns, count), dtype)
    for first in range(0, columns, width):
        block = torch.empty((min(width, columns - first), count), dtype=dtype)
        at = 0
        for rows in value.split(_rows_of(BLOCK_BYTES, value.shape, dtype)):
            block[:, at : at + len(rows)] = rows[:, first : first + width].t()
            at += len(rows)
        yield block


class StackedWeight(WeightTensor):
    """Several slots of one shape along a new first axis, each through the same steps."""

    def __init__(
        self, name: str, slots: Sequence[str], shape: Sequence[int], dtype: ir.DataType, steps: tuple[Step, ...] = ()
    ) -> None:
        super().__init__(name, shape, dtype, steps)
        self._slots = tuple(slots)

    @property
    def slots(self) -> tuple[str, ...]:
        """The slots, in order."""
        return self._slots

    def then(self, step: Step) -> StackedWeight:
        """The same weights with one more step each."""
        count, *shape = (int(size) for size in self.shape)
        return StackedWeight(self.slot, self.slots, (count, *step.shape(tuple(shape))), self.dtype, (*self.steps, step))

    def in_parts(self) -> tuple[WeightTensor, ...]:
        """One weight a slot."""
        shape = tuple(int(size) for size in self.shape)[1:]
        return tuple(WeightTensor(slot, shape, self.dtype, self.steps) for slot in self.slots)


class JoinedRows(WeightTensor):
    """The rows of several tensors one after another; `layers.0.q.weight` and `layers.0.k.weight` make `q+k`."""

    def __init__(self, parts: Sequence[WeightTensor]) -> None:
        names = [str(part.name).split(".") for part in parts]
        if len({len(words) for words in names}) > 1:
            names = [[str(part.name)] for part in parts]
        name = ".".join("+".join(dict.fromkeys(choices)) for choices in zip(*names, strict=True))
        first, *rest = (int(size) for size in parts[0].shape)
        super().__init__(name, (first + sum(int(part.shape[0]) for part in parts[1:]), *rest), parts[0].dtype)
        self.parts = tuple(parts)

    @property
    def slots(self) -> tuple[str, ...]:
        """Each tensor's, in order."""
        return tuple(slot for part in self.parts for slot in part.slots)

    def in_parts(self) -> tuple[WeightTensor, ...]:
        """Each tensor's, in order."""
        return tuple(inner for part in self.parts for inner in part.in_parts())
