"""Verbs of the weight table: operations on checkpoint tensors that produce the tensor of a weight slot."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveFloat

from archc.archspec.vocabulary.base import Section, Size


class Transpose(Section):
    """Swaps the two axes of a matrix, for weights stored as [in, out]. Has no effect on vectors."""


class Permute(Section):
    """Reorders the axes of a tensor. Has no effect on vectors."""

    order: tuple[NonNegativeInt, ...] = Field(min_length=2, description="The old axis at each place, from 0.")


class Split(Section):
    """Selects one part of a fused tensor. The axis consists of `groups` equal groups, and each group of `parts`."""

    parts: tuple[Size, ...] = Field(min_length=2, description="Sizes of the parts of one group, in order.")
    groups: Size = Field(1, description="Number of groups along the axis.")
    axis: Literal[0, 1] = Field(0, description="Axis of the split; always 0 for vectors.")
    take: NonNegativeInt = Field(
        0, description="Index of the selected part. Default: the index of the slot among the key's {a,b,c}."
    )


class Concat(Section):
    """Concatenates all tensors in `from` along an axis."""

    axis: Literal[0, 1] = Field(0, description="Axis of the concatenation; always 0 for vectors.")


class Stack(Section):
    """Stacks numbered tensors along a new first axis, or joins them along their own; `{index}` in `from` runs from 0 to
    count − 1.
    """

    count: int = Field(gt=0, le=10**5, description="Number of tensors.")
    axis: Literal["new", "first"] = Field("new", description="first: no new axis; the tensors are parts of one.")


class Unstack(Section):
    """Selects the expert's own index along the first axis and removes this axis, for experts stored in one tensor.

    Only this part of the tensor is read. A matrix of all experts, [experts · out, in], is reshaped first.
    """


class Select(Section):
    """Selects one index along `axis` and along each following axis, and removes these axes; for example one tap of a
    convolution kernel. Has no effect on vectors.
    """

    axis: int = Field(ge=0, le=7, description="First axis that is removed.")
    index: tuple[NonNegativeInt, ...] = Field(
        min_length=1, description="Index along `axis` and along each following axis that is removed."
    )


class Reshape(Section):
    """Reshapes a tensor in row-major order, for example [1, 1, 768] or [12, 64] to [768]."""

    shape: tuple[Size, ...] = Field(min_length=1, description="New shape, with the same number of elements.")


class Deinterleave(Section):
    """Reorders the first axis, on which parts alternate index by index, to one part after another."""

    parts: int = Field(ge=2, le=2**16, description="Number of parts.")


class Normalize(Section):
    """Divides each row of a matrix by its Euclidean norm, or by `eps` if the norm is smaller (Baichuan 2, NormHead).
    Has no effect on vectors.
    """

    eps: PositiveFloat = Field(description="Lower bound of the divisor.")


Step = Transpose | Permute | Split | Concat | Stack | Unstack | Select | Reshape | Deinterleave | Normalize

# The key of each verb in a table entry. Verbs apply in the order in which an entry lists them.
VERBS: dict[str, type[Step]] = {
    "transpose": Transpose,
    "permute": Permute,
    "split": Split,
    "concat": Concat,
    "stack": Stack,
    "unstack": Unstack,
    "select": Select,
    "reshape": Reshape,
    "deinterleave": Deinterleave,
    "normalize": Normalize,
}
