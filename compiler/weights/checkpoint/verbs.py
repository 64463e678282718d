"""The verbs of a weight table, applied to tensors; what each means is said in `archc.archspec.vocabulary.verbs`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from archc.archspec.vocabulary.verbs import Concat, Normalize, Reshape, Select, Split, Stack, Step, Transpose


def apply_steps(tensors: Sequence[Tensor], steps: Sequence[Step]) -> Tensor:
    """One slot's tensor from the checkpoint's. Raises ValueError where a shape does not fit a verb."""
    values = list(tensors)
    for step in steps:
        match step:
            case Concat(axis=axis):
                values = [torch.cat(values, dim=axis)]
            case Stack():
                values = [torch.stack(values)]
            case Split():
                values = [split(value, step) for value in values]
            case Transpose():
                values = [value.t() for value in values]
            case Select():
                values = [select(value, step) for value in values]
            case Reshape():
                values = [reshape(value, step.shape) for value in values]
            case Normalize():
                values = [normalize(value, step.eps) for value in values]
    if len(values) != 1:
        raise ValueError(f"{len(values)} tensors and no verb that joins them")
    return values[0]


def split(value: Tensor, step: Split) -> Tensor:
    """Part `take` of every group along an axis that is laid out as groups × sum(parts)."""
    size, period = value.shape[step.axis], sum(step.parts)
    if size != step.groups * period:
        raise ValueError(f"axis {step.axis} is {size} long, not {step.groups} × {period}")
    grouped = value.unflatten(step.axis, (step.groups, period))
    start = sum(step.parts[: step.take])
    return grouped.narrow(step.axis + 1, start, step.parts[step.take]).flatten(step.axis, step.axis + 1)


def select(value: Tensor, step: Select) -> Tensor:
    """The places of `index` along `axis` and the axes after it, which go."""
    sizes = list(value.shape[step.axis : step.axis + len(step.index)])
    if len(sizes) < len(step.index) or any(place >= size for place, size in zip(step.index, sizes, strict=True)):
        raise ValueError(f"no {list(step.index)} in axes of sizes {sizes} from axis {step.axis}")
    return value[(slice(None),) * step.axis + step.index]


def reshape(value: Tensor, shape: Sequence[int]) -> Tensor:
    """The same numbers under other axes."""
    if value.numel() != math.prod(shape):
        raise ValueError(f"{list(value.shape)} has {value.numel()} numbers, and {list(shape)} {math.prod(shape)}")
    return value.reshape(tuple(shape))


def normalize(value: Tensor, eps: float) -> Tensor:
    """Rows divided by their Euclidean length, in float32 or what is finer."""
    rows = value.to(torch.promote_types(value.dtype, torch.float32))
    return rows / rows.norm(dim=-1, keepdim=True).clamp(min=eps)
