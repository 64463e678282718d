"""Verbs of the weight table: what happens to checkpoint tensors on their way into a slot."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveFloat

from archc.archspec.vocabulary.base import Size, Word


class Transpose(Word):
    """Swaps the two axes of a matrix: for layers stored as [in, out]."""


class Split(Word):
    """Takes one part of a fused tensor: the axis is `groups` × the sum of `parts`, and each group gives one part."""

    parts: tuple[Size, ...] = Field(min_length=2, description="Sizes of the parts within one group, in order.")
    groups: Size = Field(1, description="How many times the parts repeat along the axis.")
    axis: Literal[0, 1] = Field(0, description="The axis that is split; a vector has only axis 0.")
    take: NonNegativeInt = Field(0, description="Which part: by default the place of the slot in the key's {a,b,c}.")


class Concat(Word):
    """Joins all the tensors that `from` lists along an axis."""

    axis: Literal[0, 1] = Field(0, description="The axis along which they are joined; a vector has only axis 0.")


class Stack(Word):
    """Lays numbered tensors side by side along a new first axis: `{index}` in `from` counts from 0."""

    count: int = Field(gt=0, le=10**5, description="How many tensors there are.")


class Unstack(Word):
    """Takes an expert's own place along the first axis, which is then gone: for files that stack the experts.

    Only that part of the tensor is read.
    """


class Select(Word):
    """Takes one place along an axis and along those after it, which are then gone: one tap of a convolution's kernel.

    A vector passes.
    """

    axis: int = Field(ge=0, le=7, description="The first axis that goes.")
    index: tuple[NonNegativeInt, ...] = Field(
        min_length=1, description="The place along `axis`, and along each axis after it that goes."
    )


class Reshape(Word):
    """Gives a tensor other axes over the same numbers in the same order: [1, 1, 768] and [12, 64] both as [768]."""

    shape: tuple[Size, ...] = Field(min_length=1, description="The new sizes; their product is what it was.")


class Normalize(Word):
    """Divides each row of a matrix by its Euclidean length, or by `eps` where it is shorter (Baichuan 2's NormHead).

    A vector passes.
    """

    eps: PositiveFloat = Field(description="The least number that a row is divided by.")


Step = Transpose | Split | Concat | Stack | Unstack | Select | Reshape | Normalize

# The key of each verb in a table entry. Verbs apply in the order in which an entry writes them.
VERBS: dict[str, type[Step]] = {
    "transpose": Transpose,
    "split": Split,
    "concat": Concat,
    "stack": Stack,
    "unstack": Unstack,
    "select": Select,
    "reshape": Reshape,
    "normalize": Normalize,
}
