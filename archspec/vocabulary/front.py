"""A block of attention and MLP in front of a recurrence, and low-rank adapters of layers that share weights."""

from __future__ import annotations

from pydantic import Field

from archc.archspec.vocabulary.base import Section, Size


class LowRankAdapter(Section):
    """A low-rank term B A x, added to a projection W x (Hu et al. 2021, LoRA, section 4.1). Layers that share the
    projection have adapters of their own (Glorioso et al. 2024, Zamba2, section 2.1).
    """

    rank: Size = Field(description="Rows of A, and columns of B.")


class FrontBlock(Section):
    """Attention and MLP in front of the recurrence, which change its input and not the residual stream:
    x + recurrence(norm(x + W y)), y = mlp(norm(attention(norm([x, e])))), where e is the output of the embedding
    (Glorioso et al. 2024, Zamba, eq. 6).
    """

    weights: int | None = Field(
        None,
        ge=0,
        le=10**4,
        description="Index of the block's weight set. Layers of the same index share attention, MLP and their norms, "
        "except for adapters. Default: the index of the layer.",
    )
