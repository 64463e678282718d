"""Compressed keys: keys of blocks of tokens, which queries attend to next to those of a window."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from archc.archspec.vocabulary.base import Section, Size
from archc.archspec.vocabulary.norm import Norm


class CompressedKeyIndexer(Section):
    """Each query attends to the `keys` compressed keys with the highest scores Σ_h w_h · ReLU(q_h · k), w = W x, or to
    all if there are no more (DeepSeek-AI 2026, DeepSeek-V4, section 2.3.1). Its queries are projections of the query
    latent, or of x without one; its keys are compressed like those of the attention, by weights of their own.
    """

    heads: Size = Field(description="Number of query heads; all read one key.")
    head_dim: Size = Field(description="Width of one head, of which as many dims rotate as in the attention.")
    keys: Size = Field(description="Number of compressed keys that a query attends to.")
    norm: Norm = Field(description="Norm on the keys.")
    pairing: Literal["half", "interleaved"] = Field(
        "half", description="half: dim i rotates with dim i + r/2. interleaved: 2i with 2i + 1."
    )


class Compression(Section):
    """A compressed key for each whole block of tokens: norm(Σ_j w_j ⊙ W x_j), w = softmax over the tokens j of the
    block of Z x_j + b_j, for each channel; it rotates with the first of them (DeepSeek-AI 2026, DeepSeek-V4, section
    2.3). A query attends to the keys of its window, and to those of the blocks that end up to its own position.
    """

    block: int = Field(ge=2, le=512, description="Number of tokens in a block.")
    overlap: bool = Field(
        False,
        description="A key is a sum over the tokens of its block and of the one before, which have projections W and Z "
        "and numbers b of their own.",
    )
    norm: Norm = Field(description="Norm on each head of the compressed keys.")
    indexer: CompressedKeyIndexer | None = Field(
        None, description="Scorer that selects the compressed keys of each query. none: all of them."
    )
