"""Lazy weights: initializers that name the slots they are computed from; bytes are read when a plan is written."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import onnx_ir as ir
import torch
from torch import Tensor

from archc.compiler.contract.dtypes import torch_dtype
from archc.compiler.weights.steps import Step, Transpose, apply_steps, is_rowwise, shape_after, step_name

# Bytes of a converted weight that are in memory at once.
BLOCK_BYTES = 16 * 2**20
# The same for a large matrix that is transposed: each block of columns reads all of its rows.
_TRANSPOSED_BYTES = 128 * 2**20


@dataclass(frozen=True)
class RowSource:
    """A tensor that is not in memory as a whole; `read(start, stop)` returns a range of its rows."""

    shape: tuple[int, ...]
    read: Callable[[int, int], Tensor]

    def split(self, rows: int) -> Iterator[Tensor]:
        """Yield the rows in order, `rows` at a time, as Tensor.split does."""
        return (self.read(start, min(start + rows, self.shape[0])) for start in range(0, self.shape[0], rows))

    def __getitem__(self, rows: slice) -> RowSource:
        """Return the source of a range of the rows, as slicing a Tensor does."""
        start, stop, _ = rows.indices(self.shape[0])
        return RowSource((stop - start, *self.shape[1:]), lambda first, last: self.read(start + first, start + last))

    def map(self, steps: Sequence[Step]) -> RowSource:
        """Return the source of the same rows after rowwise steps."""
        return RowSource(self.shape, lambda start, stop: apply_steps([self.read(start, stop)], steps))


def join_rows(sources: Sequence[Tensor | RowSource]) -> Tensor | RowSource:
    """Return the rows of several tensors one after another; none is read before its rows are."""
    if len(sources) == 1:
        return sources[0]
    ends = list(accumulate(source.shape[0] for source in sources))

    def read(start: int, stop: int) -> Tensor:
        pieces = []
        for source, end in zip(sources, ends, strict=True):
            begin = end - source.shape[0]
            first, last = max(start, begin) - begin, min(stop, end) - begin
            if first < last:
                pieces.append(source.read(first, last) if isinstance(source, RowSource) else source[first:last])
        return torch.cat(pieces)

    return RowSource((ends[-1], *sources[0].shape[1:]), read)


class WeightTensor(ir.LazyTensor):
    """An initializer without bytes: slot `slot` of the model after `steps`, in `dtype`."""

    def __init__(
        self, slot: str, shape: Sequence[int], dtype: ir.DataType, steps: tuple[Step, ...] = (), suffix: str = ""
    ) -> None:
        # Initializers of one name share their bytes, so the name includes the steps.
        name = ".".join([slot, *map(step_name, steps)]) + suffix
        super().__init__(self._refuse, dtype=dtype, shape=ir.Shape(shape), name=name)
        self.slot, self.steps = slot, steps
        #: The shape as integers: every axis of a weight has a fixed size.
        self.sizes = tuple(shape)

    def _refuse(self) -> ir.TensorProtocol:
        raise RuntimeError(f"{self.name} has no bytes yet: weights are streamed when the plan is written")

    def then(self, step: Step) -> WeightTensor:
        """Return the same weight after one more step."""
        return WeightTensor(self.slot, shape_after([self.sizes], [step]), self.dtype, (*self.steps, step))

    @property
    def slots(self) -> tuple[str, ...]:
        """The slots whose rows, one after another, the tensor is computed from."""
        return (self.slot,)

    def in_parts(self) -> tuple[WeightTensor, ...]:
        """Return the weights whose bytes, one after another, are this one's; itself if there are none."""
        return (self,)

    def blocks(self, value: Tensor | RowSource, dtype: torch.dtype | None = None) -> Iterator[Tensor]:
        """Yield the tensor in contiguous blocks of rows, from the rows of its slots; by default in its own dtype."""
        dtype = dtype or torch_dtype(self.dtype)
        if isinstance(value, RowSource):
            if is_rowwise(self.steps):
                value = value.map(self.steps)
            elif self.steps == (Transpose(),):
                yield from _transposed(value, dtype)
                return
            else:
                value = value.read(0, value.shape[0])
        if isinstance(value, Tensor):
            value = apply_steps([value], self.steps)
        # A checkpoint's dtype is no wider than the plan's: fewer bytes are moved if rows are made contiguous first.
        for block in value.split(rows_within(BLOCK_BYTES, value.shape, dtype)):
            yield block.contiguous().to(dtype)


def all_finite(block: Tensor) -> bool:
    """Return whether all elements are finite: their sum is, unless it overflows itself."""
    return bool(block.sum(dtype=torch.float32).isfinite()) or bool(torch.isfinite(block).all())


def rows_within(size: int, shape: Sequence[int], dtype: torch.dtype) -> int:
    """Return the number of rows of a shape that fit into `size` bytes, at least one; all elements of a vector."""
    return max(1, size // max(1, math.prod(shape[1:]) * dtype.itemsize)) if len(shape) > 1 else max(1, shape[0])


def _transposed(value: RowSource, dtype: torch.dtype) -> Iterator[Tensor]:
    """Yield the columns of a matrix [N, K] as rows; each block reads the whole matrix."""
    count, columns = value.shape
    width = rows_within(_TRANSPOSED_BYTES, (columns, count), dtype)
    for first in range(0, columns, width):
        block = torch.empty((min(width, columns - first), count), dtype=dtype)
        at = 0
        for rows in value.split(rows_within(BLOCK_BYTES, value.shape, dtype)):
            block[:, at : at + len(rows)] = rows[:, first : first + width].t()
            at += len(rows)
        yield block


class StackedWeight(WeightTensor):
    """Several slots of one shape along a new first axis, each after the same steps."""

    def __init__(
        self, name: str, slots: Sequence[str], shape: Sequence[int], dtype: ir.DataType, steps: tuple[Step, ...] = ()
    ) -> None:
        super().__init__(name, shape, dtype, steps)
        self._slots = tuple(slots)

    @property
    def slots(self) -> tuple[str, ...]:
        """The slots in order."""
        return self._slots

    def then(self, step: Step) -> StackedWeight:
        """Return the same weights after one more step each."""
        shape = (self.sizes[0], *shape_after([self.sizes[1:]], [step]))
        return StackedWeight(self.slot, self.slots, shape, self.dtype, (*self.steps, step))

    def in_parts(self) -> tuple[WeightTensor, ...]:
        """Return one weight per slot."""
        return tuple(WeightTensor(slot, self.sizes[1:], self.dtype, self.steps) for slot in self.slots)


class JoinedRows(WeightTensor):
    """The rows of several tensors one after another; `layers.0.q.weight` and `layers.0.k.weight` become `q+k`."""

    def __init__(self, parts: Sequence[WeightTensor]) -> None:
        names = [str(part.name).split(".") for part in parts]
        if len({len(words) for words in names}) > 1:
            names = [[str(part.name)] for part in parts]
        name = ".".join("+".join(dict.fromkeys(choices)) for choices in zip(*names, strict=True))
        if len({(part.sizes[1:], part.dtype) for part in parts}) != 1:
            raise ValueError(f"{name}: rows of different sizes or dtypes cannot be joined")
        if not all(is_rowwise(part.steps) for part in parts):
            raise ValueError(f"{name}: the rows of these tensors are not the rows of their slots")
        super().__init__(name, (sum(part.sizes[0] for part in parts), *parts[0].sizes[1:]), parts[0].dtype)
        self.parts = tuple(parts)

    @property
    def slots(self) -> tuple[str, ...]:
        """The slots of each tensor in order."""
        return tuple(slot for part in self.parts for slot in part.slots)

    def then(self, step: Step) -> JoinedRows:
        """Return the rows after a step. Raises ValueError if the step is not rowwise."""
        return JoinedRows([part.then(step) for part in self.parts])

    def in_parts(self) -> tuple[WeightTensor, ...]:
        """Return the parts of each tensor in order."""
        return tuple(inner for part in self.parts for inner in part.in_parts())

    def blocks(self, value: Tensor | RowSource, dtype: torch.dtype | None = None) -> Iterator[Tensor]:
        """Yield the blocks of each tensor in order, from the joined rows of the slots."""
        start = 0
        for part in self.parts:
            yield from part.blocks(value[start : start + part.sizes[0]], dtype)
            start += part.sizes[0]
