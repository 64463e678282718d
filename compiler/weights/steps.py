"""Steps between a checkpoint's tensors and a weight of the graph.

The weight table of a spec and the lowering of an operator use the same steps. A `Step` changes one tensor; a `Join`
makes one tensor of several.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from archc.archspec.vocabulary import verbs

Shape = tuple[int, ...]


class Step(Protocol):
    """A change of one tensor: of its layout or of its elements."""

    rowwise: ClassVar[bool]
    """Row i of the result depends on row i of the operand alone."""

    def shape(self, shape: Shape) -> Shape:
        """Return the shape of the result. Raises ValueError if the step does not fit the shape."""

    def apply(self, value: Tensor) -> Tensor:
        """Return the result for a tensor that the step fits, a view where possible."""


@runtime_checkable
class Join(Protocol):
    """One tensor from several."""

    def joined_shape(self, shapes: Sequence[Shape]) -> Shape:
        """Return the shape of the result. Raises ValueError if the shapes do not fit each other."""

    def join(self, values: Sequence[Tensor]) -> Tensor:
        """Return the result for tensors that fit each other."""


@dataclass(frozen=True)
class Transpose:
    """Swap the last two axes: [in, out] → [out, in]. A vector stays as it is."""

    rowwise: ClassVar[bool] = False

    def shape(self, shape: Shape) -> Shape:
        """Return the shape with the last two sizes swapped."""
        return (*shape[:-2], *shape[:-3:-1])

    def apply(self, value: Tensor) -> Tensor:
        """Return a view."""
        return value.transpose(-1, -2) if value.dim() > 1 else value


@dataclass(frozen=True)
class Unflatten:
    """Split the first axis in two: [count · D, K] → [count, D, K], one matrix per attention head."""

    count: int
    rowwise: ClassVar[bool] = False

    def shape(self, shape: Shape) -> Shape:
        """Return the shape with one more axis. Raises ValueError if `count` does not divide the first one."""
        if not shape or shape[0] % self.count:
            raise ValueError(f"{list(shape)} has no first axis that is a multiple of {self.count}")
        return (self.count, shape[0] // self.count, *shape[1:])

    def apply(self, value: Tensor) -> Tensor:
        """Return a view."""
        return value.unflatten(0, (self.count, -1))


@dataclass(frozen=True)
class Offset:
    """Add a constant to every element."""

    amount: float
    rowwise: ClassVar[bool] = True

    def shape(self, shape: Shape) -> Shape:
        """Return the same shape."""
        return shape

    def apply(self, value: Tensor) -> Tensor:
        """Return the sum in float32."""
        return value.float() + self.amount


@dataclass(frozen=True)
class Split:
    """Take part `take` of each group of an axis whose size is `groups` · sum(parts)."""

    parts: tuple[int, ...]
    groups: int = 1
    axis: int = 0
    take: int = 0
    rowwise: ClassVar[bool] = False

    def shape(self, shape: Shape) -> Shape:
        """Return the shape of the part. Raises ValueError if the axis has another size."""
        period = sum(self.parts)
        if self.axis >= len(shape) or shape[self.axis] != self.groups * period:
            raise ValueError(f"axis {self.axis} of {list(shape)} does not have size {self.groups} × {period}")
        return (*shape[: self.axis], self.groups * self.parts[self.take], *shape[self.axis + 1 :])

    def apply(self, value: Tensor) -> Tensor:
        """Return the parts of all groups in order."""
        grouped = value.unflatten(self.axis, (self.groups, sum(self.parts)))
        start = sum(self.parts[: self.take])
        return grouped.narrow(self.axis + 1, start, self.parts[self.take]).flatten(self.axis, self.axis + 1)


@dataclass(frozen=True)
class Select:
    """Take one index along `axis` and along each axis after it; these axes are removed."""

    axis: int
    index: tuple[int, ...]
    rowwise: ClassVar[bool] = False

    def shape(self, shape: Shape) -> Shape:
        """Return the shape without the axes. Raises ValueError if an index is out of bounds."""
        sizes = shape[self.axis : self.axis + len(self.index)]
        if len(sizes) < len(self.index) or any(at >= size for at, size in zip(self.index, sizes, strict=True)):
            raise ValueError(f"index {list(self.index)} is out of bounds for axes {list(sizes)} from axis {self.axis}")
        return shape[: self.axis] + shape[self.axis + len(self.index) :]

    def apply(self, value: Tensor) -> Tensor:
        """Return a view."""
        return value[(slice(None),) * self.axis + self.index]


@dataclass(frozen=True)
class Reshape:
    """Read the same elements, in the same order, as a tensor of another shape."""

    sizes: Shape
    rowwise: ClassVar[bool] = False

    def shape(self, shape: Shape) -> Shape:
        """Return the new shape. Raises ValueError if it has another number of elements."""
        if math.prod(shape) != math.prod(self.sizes):
            raise ValueError(
                f"{list(shape)} has {math.prod(shape)} elements, {list(self.sizes)} has {math.prod(self.sizes)}"
            )
        return self.sizes

    def apply(self, value: Tensor) -> Tensor:
        """Return a view where the strides allow it."""
        return value.reshape(self.sizes)


@dataclass(frozen=True)
class Normalize:
    """Divide each row by its Euclidean norm, or by `eps` if the norm is smaller."""

    eps: float
    rowwise: ClassVar[bool] = True

    def shape(self, shape: Shape) -> Shape:
        """Return the same shape."""
        return shape

    def apply(self, value: Tensor) -> Tensor:
        """Return the quotient in float32 or in a wider dtype of the tensor."""
        rows = value.to(torch.promote_types(value.dtype, torch.float32))
        return rows / rows.norm(dim=-1, keepdim=True).clamp(min=self.eps)


@dataclass(frozen=True)
class Concat:
    """Concatenate tensors along an axis."""

    axis: int = 0

    def joined_shape(self, shapes: Sequence[Shape]) -> Shape:
        """Return the shape of the result. Raises ValueError if another axis differs."""
        first, axis = shapes[0], self.axis
        if axis >= len(first) or any(_without(shape, axis) != _without(first, axis) for shape in shapes):
            raise ValueError(f"{_listed(shapes)} cannot be concatenated along axis {axis}")
        return (*first[:axis], sum(shape[axis] for shape in shapes), *first[axis + 1 :])

    def join(self, values: Sequence[Tensor]) -> Tensor:
        """Return the tensors one after another."""
        return torch.cat(list(values), dim=self.axis)


@dataclass(frozen=True)
class Stack:
    """Stack tensors of one shape along a new first axis."""

    def joined_shape(self, shapes: Sequence[Shape]) -> Shape:
        """Return the shape of the result. Raises ValueError if the shapes differ."""
        if len(set(shapes)) != 1:
            raise ValueError(f"{_listed(shapes)} cannot be stacked: the shapes differ")
        return (len(shapes), *shapes[0])

    def join(self, values: Sequence[Tensor]) -> Tensor:
        """Return the tensors in order."""
        return torch.stack(list(values))


def _without(shape: Shape, axis: int) -> tuple[Shape, Shape]:
    return shape[:axis], shape[axis + 1 :]


def _listed(shapes: Sequence[Shape]) -> str:
    return " and ".join(str(list(shape)) for shape in shapes)


Steps = Sequence[Step | Join]


def steps_of(table: Sequence[verbs.Step]) -> tuple[Step | Join, ...]:
    """Return the steps of a resolved entry of the weight table; `unstack` has become a `select` there."""
    return tuple(_step_of(verb) for verb in table)


def _step_of(verb: verbs.Step) -> Step | Join:
    match verb:
        case verbs.Transpose():
            return Transpose()
        case verbs.Split(parts=parts, groups=groups, axis=axis, take=take):
            return Split(parts, groups, axis, take)
        case verbs.Concat(axis=axis):
            return Concat(axis)
        case verbs.Stack():
            return Stack()
        case verbs.Select(axis=axis, index=index):
            return Select(axis, index)
        case verbs.Reshape(shape=sizes):
            return Reshape(sizes)
        case verbs.Normalize(eps=eps):
            return Normalize(eps)
        case verbs.Unstack():
            raise ValueError("unstack must be resolved to the index of an expert")


def step_name(step: Step) -> str:
    """Return a name that tells the step and its parameters apart from any other: `transpose`, `unflatten_4`."""
    values = [f"{value:g}" if isinstance(value, float) else str(value) for value in vars(step).values()]
    return "_".join([type(step).__name__.lower(), *values]).replace(" ", "")


def is_rowwise(steps: Steps) -> bool:
    """Return whether each row of the result can be computed from the same row of one tensor."""
    return all(not isinstance(step, Join) and step.rowwise for step in steps)


def shape_after(shapes: Sequence[Shape], steps: Steps) -> Shape:
    """Return the shape that the steps make of tensors. Raises ValueError if a step does not fit."""
    for step in steps:
        shapes = [step.joined_shape(shapes)] if isinstance(step, Join) else [step.shape(shape) for shape in shapes]
    if len(shapes) != 1:
        raise ValueError(f"{len(shapes)} tensors, and no concat or stack that joins them")
    return shapes[0]


def apply_steps(values: Sequence[Tensor], steps: Steps) -> Tensor:
    """Return the one tensor that the steps make of tensors. Raises ValueError if a step does not fit."""
    shape_after([tuple(value.shape) for value in values], steps)
    for step in steps:
        values = [step.join(values)] if isinstance(step, Join) else [step.apply(value) for value in values]
    return values[0]
