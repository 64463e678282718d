"""Sparse indexers: a small scorer of an attention layer selects the keys that each query attends to."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from archc.archspec.vocabulary.base import Section, Size
from archc.archspec.vocabulary.norm import NoNorm, Norm

Pairing = Literal["half", "interleaved"]


class KeyIndexer(Section):
    """Each query attends to the `keys` with the highest scores Σ_h w_h · ReLU(q_h · k), w = W x, or to all if there are
    no more (DeepSeek-AI 2025, DeepSeek-V3.2-Exp, section 1: lightning indexer). Its queries are projections of the
    query latent, or of x without one; a cache has its keys, k = norm(W x).
    """

    kind: Literal["keys"] = "keys"
    heads: Size = Field(description="Number of query heads; all read one key.")
    head_dim: Size = Field(description="Width of one head, of which as many dims rotate as in the attention.")
    keys: Size = Field(description="Number of keys that a query attends to.")
    norm: Norm = Field(description="Norm on the keys.")
    query_norm: Norm = Field(default_factory=NoNorm, description="Norm on the input of the query projection.")
    query_scale: bool = Field(
        False, description="Scale its queries with `learned-log` factors of its own; requires that of the attention."
    )
    pairing: Pairing = Field("half", description="half: dim i rotates with dim i + r/2. interleaved: 2i with 2i + 1.")


class BlockIndexer(Section):
    """Each query of a group of heads attends to the `blocks` blocks of keys with the highest scores max q · k, the
    last ones up to its own first (MiniMax M3). Queries and keys are projections of x; a cache has the keys.
    """

    kind: Literal["blocks"] = "blocks"
    heads: Size = Field(
        description="Number of query heads, each for an equal group of the attention's; all read one key."
    )
    head_dim: Size = Field(description="Width of one head, of which as many dims rotate as in the attention.")
    block: Size = Field(description="Number of keys in a block.")
    blocks: Size = Field(description="Number of blocks that a query attends to, the last ones included.")
    last: int = Field(1, ge=0, description="Number of blocks up to that of the query which are selected first.")
    norm: Norm = Field(description="Norm on each head of the queries and on the keys.")
    pairing: Pairing = Field("half", description="half: dim i rotates with dim i + r/2. interleaved: 2i with 2i + 1.")


class MeanBlockPool(Section):
    """The mean over the tokens of a block."""

    kind: Literal["mean"] = "mean"


class WeightedBlockPool(Section):
    """The sum Σ_j p_j ⊙ k_j over the tokens j of a block, with weights p = softmax_j(W x_j + b_j) for each channel and
    one vector b_j for each place in a block (GLM 5.3; Yuan et al. 2025, Native Sparse Attention, section 3.3.1).
    """

    kind: Literal["weighted"] = "weighted"


BlockPool = Annotated[MeanBlockPool | WeightedBlockPool, Field(discriminator="kind")]


class PooledBlockIndexer(Section):
    """Each query attends to the `blocks` whole blocks of keys with the highest scores Σ_h w_h · ReLU(q_h · k), and to
    all keys after the last one. The key k of a block is pooled from W x of its tokens, and rotates with the first of
    them (Qwen4-Exp, GLM 5.3; Yuan et al. 2025, Native Sparse Attention, section 3.3). Queries are projections of the
    query latent, or of x without one.
    """

    kind: Literal["pooled-blocks"] = "pooled-blocks"
    heads: Size = Field(description="Number of query heads; all read one key, and select for all heads.")
    head_dim: Size = Field(description="Width of one head. Its first dims rotate, as many as in the attention.")
    head_weights: bool = Field(False, description="Weights w = W x of the heads. false: all are 1.")
    block: int = Field(ge=2, le=2**16, description="Number of keys in a block.")
    blocks: Size = Field(description="Number of whole blocks that a query attends to.")
    pool: BlockPool = Field(default_factory=MeanBlockPool, description="Pooling of the keys of a block.")
    norm: Norm = Field(description="Norm on the keys.")
    norm_order: Literal["before", "after"] = Field("after", description="Norm on the keys before or after the pooling.")
    head_norm: Norm = Field(default_factory=NoNorm, description="Norm on each head of the queries.")
    pairing: Pairing = Field("half", description="half: dim i rotates with dim i + r/2. interleaved: 2i with 2i + 1.")


class EarlierIndexer(Section):
    """Each query attends to the keys that the nearest earlier layer with an indexer of its own selected (GLM-5.2)."""

    kind: Literal["earlier"] = "earlier"


Indexer = Annotated[KeyIndexer | BlockIndexer | PooledBlockIndexer | EarlierIndexer, Field(discriminator="kind")]
