"""Verbs of the weight table: what happens to checkpoint tensors on their way into a slot."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt

from archspec.vocabulary.base import Size, Word


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


Step = Transpose | Split | Concat | Stack

# The key of each verb in a table entry. Verbs apply in the order in which an entry writes them.
VERBS: dict[str, type[Transpose] | type[Split] | type[Concat] | type[Stack]] = {
    "transpose": Transpose,
    "split": Split,
    "concat": Concat,
    "stack": Stack,
}
