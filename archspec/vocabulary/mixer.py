"""Token mixers: what lets positions see each other."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat

from archc.archspec.vocabulary.base import DefaultKind, Size, Word
from archc.archspec.vocabulary.norm import NoNorm, Norm, QkNorm


class ProjectionBias(Word):
    """Which of the attention's projections add a bias. A bare true or false stands for both."""

    qkv: bool = Field(default=False, description="The query, key and value projections.")
    out: bool = Field(default=False, description="The output projection.")


class LocalizedFilter(Word):
    """norm(x + conv(conv(x))), two causal convolutions of two taps, from which queries and keys are projected while
    values are projected from x (Wu et al. 2023, Yuan 2.0, section 2.1)."""

    width: Size = Field(description="Channels between the two convolutions.")
    norm: Norm


class GroupedQueries(Word):
    """Scaled dot products of queries with keys that groups of them share (Vaswani et al. 2017; Ainslie et al. 2023)."""

    heads: Size = Field(description="Query heads.")
    kv_heads: Size = Field(description="Key and value heads; each serves heads / kv_heads queries.")
    head_dim: Size = Field(description="Width of one head.")
    bias: ProjectionBias = Field(default_factory=ProjectionBias)
    scale: PositiveFloat | None = Field(None, description="Factor on the scores; by default 1 / sqrt(head_dim).")
    qk_norm: QkNorm = Field(default_factory=NoNorm, description="Norms on queries and keys.")
    clip: PositiveFloat | None = Field(None, description="Queries, keys and values are clamped to ± this (MPT, OLMo).")
    softcap: PositiveFloat | None = Field(None, description="Scores become cap · tanh(score / cap) (Gemma 2, Grok-1).")


class GroupedQueryAttention(GroupedQueries):
    """Softmax attention with grouped queries (Ainslie et al. 2023); kv_heads = heads is MHA, kv_heads = 1 is MQA."""

    kind: Literal["grouped-query"] = "grouped-query"
    logn: Size | None = Field(
        None, description="Queries past this trained length n are scaled by log(position) / log(n) (Qwen 1; Su 2021)."
    )
    sinks: bool = Field(
        False,
        description="A learned logit for each head in the softmax's denominator, which takes weight and gives nothing "
        "(Xiao et al. 2023, attention sinks; gpt-oss).",
    )
    filter: LocalizedFilter | None = Field(None, description="A localized filter before queries and keys.")
    window: Size | None = Field(
        None,
        description="Sliding window: a query sees this many keys, itself included; in an encoder, this "
        "many on each side. none: all of them.",
    )

    @property
    def rotating_dim(self) -> int:
        """Width of the part of a query or key that rotary positions may turn."""
        return self.head_dim


class LatentBias(Word):
    """Which of the projections of latent attention add a bias. A bare true or false stands for both."""

    down: bool = Field(default=False, description="The projections from the residual stream into the latents.")
    out: bool = Field(default=False, description="The output projection.")


class LatentAttention(Word):
    """Multi-head latent attention (DeepSeek-AI 2024, DeepSeek-V2, section 2.1): the keys and values of all heads are
    projections of one normed latent, and each key also has a rotating part that all heads share. The cache holds the
    latent and that part, `latent` + `rope_dim` numbers a token, whatever the number of heads.
    """

    kind: Literal["latent"] = "latent"
    heads: Size = Field(description="Query heads.")
    latent: Size = Field(description="Width of the latent of keys and values.")
    query_latent: Size | None = Field(None, description="Width of a latent of the queries. none: they are projected.")
    nope_dim: Size = Field(description="Width of the part of a query or key that does not rotate.")
    rope_dim: Size = Field(description="Width of the part that rotates, where positions are rotary.")
    value_dim: Size = Field(description="Width of one head's values.")
    norm: Norm = Field(description="Norm on each latent.")
    bias: LatentBias = Field(default_factory=LatentBias)
    scale: PositiveFloat | None = Field(
        None, description="Factor on the scores; by default 1 / sqrt(nope_dim + rope_dim)."
    )

    @property
    def rotating_dim(self) -> int:
        """Width of the part of a query or key that rotary positions may turn."""
        return self.rope_dim


Attention = Annotated[
    GroupedQueryAttention | LatentAttention, Field(discriminator="kind"), DefaultKind("grouped-query")
]


class CrossAttention(GroupedQueries):
    """Softmax attention of a decoder's queries over the encoder's output (Vaswani et al. 2017, section 3.2.3).

    Each key that is left out is that of `attention`, as is the whole section.
    """
