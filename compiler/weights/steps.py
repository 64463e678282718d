"""Steps between a checkpoint's tensors and a weight of the graph: the verbs of the weight table, and two more.

The verbs are defined by `archc.archspec.vocabulary.verbs`. Lowerings use them, too, and `Unflatten` and `Offset`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from archc.archspec.vocabulary import verbs
from archc.archspec.vocabulary.verbs import (
    Concat,
    Deinterleave,
    Normalize,
    Permute,
    Reshape,
    Select,
    Split,
    Stack,
    Transpose,
)

__all__ = [
    "Concat",
    "Deinterleave",
    "Normalize",
    "Offset",
    "Permute",
    "Reshape",
    "Select",
    "Split",
    "Stack",
    "Step",
    "Transpose",
    "Unflatten",
    "apply_steps",
    "is_rowwise",
    "shape_after",
    "step_name",
]

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Unflatten:
    """Splits the first axis in two: [count · D, K] → [count, D, K], one matrix per attention head."""

    count: int


@dataclass(frozen=True)
class Offset:
    """Adds a constant to every element, in float32."""

    amount: float


Step = verbs.Step | Unflatten | Offset
_JOINS = (Concat, Stack)
_ROWWISE = (Offset, Normalize)


def step_name(step: Step) -> str:
    """Return a name that identifies a step and its parameters: `transpose`, `unflatten_4`."""
    values = [f"{value:g}" if isinstance(value, float) else str(value) for value in vars(step).values()]
    return "_".join([type(step).__name__.lower(), *values]).replace(" ", "")


def is_rowwise(steps: Iterable[Step]) -> bool:
    """Return whether each row of the result can be computed from the same row of one tensor."""
    return all(isinstance(step, _ROWWISE) for step in steps)


def shape_after(shapes: Sequence[Shape], steps: Iterable[Step]) -> Shape:
    """Return the shape that steps make of tensors. Raises ValueError if a step does not fit."""
    for step in steps:
        shapes = [_joined_shape(step, shapes)] if isinstance(step, _JOINS) else [_shape(step, each) for each in shapes]
    if len(shapes) != 1:
        raise ValueError(f"{len(shapes)} tensors, and no concat or stack that joins them")
    return shapes[0]


def apply_steps(values: Sequence[Tensor], steps: Iterable[Step]) -> Tensor:
    """Return the tensor that steps make of tensors, a view if possible. Raises ValueError if a step does not fit."""
    steps = tuple(steps)
    shape_after([tuple(value.shape) for value in values], steps)
    for step in steps:
        match step:
            case Concat(axis=axis):
                values = [torch.cat(list(values), dim=axis)]
            case Stack(axis="first"):
                values = [torch.cat(list(values))]
            case Stack():
                values = [torch.stack(list(values))]
            case _:
                values = [_apply(step, value) for value in values]
    return values[0]


def _joined_shape(step: Concat | Stack, shapes: Sequence[Shape]) -> Shape:
    first, listed = shapes[0], " and ".join(str(list(shape)) for shape in shapes)
    if isinstance(step, Stack) and step.axis == "new":
        if len(set(shapes)) != 1:
            raise ValueError(f"{listed} cannot be stacked: the shapes differ")
        return (len(shapes), *first)
    axis = step.axis if isinstance(step, Concat) else 0
    if axis >= len(first) or len({(shape[:axis], shape[axis + 1 :]) for shape in shapes}) != 1:
        raise ValueError(f"{listed} cannot be concatenated along axis {axis}")
    return (*first[:axis], sum(shape[axis] for shape in shapes), *first[axis + 1 :])


def _shape(step: Step, shape: Shape) -> Shape:
    match step:
        case Transpose():
            return (*shape[:-2], *shape[:-3:-1])
        case Unflatten(count=count):
            if not shape or shape[0] % count:
                raise ValueError(f"{list(shape)} has no first axis that is a multiple of {count}")
            return (count, shape[0] // count, *shape[1:])
        case Split(axis=axis, groups=groups, parts=parts, take=take):
            if axis >= len(shape) or shape[axis] != groups * sum(parts):
                raise ValueError(f"axis {axis} of {list(shape)} does not have size {groups} × {sum(parts)}")
            return (*shape[:axis], groups * parts[take], *shape[axis + 1 :])
        case Select(axis=axis, index=index):
            sizes = shape[axis : axis + len(index)]
            if len(sizes) < len(index) or any(at >= size for at, size in zip(index, sizes, strict=True)):
                raise ValueError(f"index {list(index)} is out of bounds for axes {list(sizes)} from axis {axis}")
            return shape[:axis] + shape[axis + len(index) :]
        case Reshape(shape=sizes):
            if math.prod(shape) != math.prod(sizes):
                raise ValueError(f"{list(shape)} has {math.prod(shape)} elements, {list(sizes)} has {math.prod(sizes)}")
            return sizes
        case Permute(order=order):
            if sorted(order) != list(range(len(shape))):
                raise ValueError(f"{list(shape)} has {len(shape)} axes, and the order is {list(order)}")
            return tuple(shape[axis] for axis in order)
        case Deinterleave(parts=count):
            if not shape or shape[0] % count:
                raise ValueError(f"{list(shape)} has no first axis that is a multiple of {count}")
            return shape
        case Normalize() | Offset():
            return shape
    raise ValueError(f"{step} is not a step of one tensor")


def _apply(step: Step, value: Tensor) -> Tensor:
    match step:
        case Transpose():
            return value.transpose(-1, -2) if value.dim() > 1 else value
        case Unflatten(count=count):
            return value.unflatten(0, (count, -1))
        case Split(axis=axis, groups=groups, parts=parts, take=take):
            grouped = value.unflatten(axis, (groups, sum(parts)))
            return grouped.narrow(axis + 1, sum(parts[:take]), parts[take]).flatten(axis, axis + 1)
        case Select(axis=axis, index=index):
            return value[(slice(None),) * axis + index]
        case Reshape(shape=sizes):
            return value.reshape(sizes)
        case Permute(order=order):
            return value.permute(order)
        case Deinterleave(parts=count):
            return value.unflatten(0, (-1, count)).transpose(0, 1).flatten(0, 1)
        case Normalize(eps=eps):
            rows = value.to(torch.promote_types(value.dtype, torch.float32))
            return rows / rows.norm(dim=-1, keepdim=True).clamp(min=eps)
        case Offset(amount=amount):
            return value.float() + amount
    raise ValueError(f"{step} is not a step of one tensor")
