"""Token mixers: what lets positions see each other."""

from __future__ import annotations

from pydantic import Field, PositiveFloat

from archspec.vocabulary.base import Size, Word
from archspec.vocabulary.norm import NoNorm, Norm, QkNorm


class ProjectionBias(Word):
    """Which of the attention's projections add a bias. A bare true or false stands for both."""

    qkv: bool = Field(default=False, description="The query, key and value projections.")
    out: bool = Field(default=False, description="The output projection.")


class LocalizedFilter(Word):
    """norm(x + conv(conv(x))), two causal convolutions of two taps, from which queries and keys are projected while
    values are projected from x (Wu et al. 2023, Yuan 2.0, section 2.1)."""

    width: Size = Field(description="Channels between the two convolutions.")
    norm: Norm


class Attention(Word):
    """Softmax attention with grouped queries (Ainslie et al. 2023); kv_heads = heads is MHA, kv_heads = 1 is MQA."""

    heads: Size = Field(description="Query heads.")
    kv_heads: Size = Field(description="Key and value heads; each serves heads / kv_heads queries.")
    head_dim: Size = Field(description="Width of one head.")
    bias: ProjectionBias = Field(default_factory=ProjectionBias)
    scale: PositiveFloat | None = Field(None, description="Factor on the scores; by default 1 / sqrt(head_dim).")
    qk_norm: QkNorm = Field(default_factory=NoNorm, description="Norms on queries and keys.")
    clip: PositiveFloat | None = Field(None, description="Queries, keys and values are clamped to ± this (MPT, OLMo).")
    softcap: PositiveFloat | None = Field(None, description="Scores become cap · tanh(score / cap) (Gemma 2, Grok-1).")
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


class CrossAttention(Word):
    """Softmax attention of a decoder's queries over the encoder's output (Vaswani et al. 2017, section 3.2.3).

    Each key that is left out is that of `attention`, as is the whole section.
    """

    heads: Size = Field(description="Query heads.")
    kv_heads: Size = Field(description="Key and value heads; each serves heads / kv_heads queries.")
    head_dim: Size = Field(description="Width of one head.")
    bias: ProjectionBias = Field(default_factory=ProjectionBias)
    scale: PositiveFloat | None = Field(None, description="Factor on the scores; by default 1 / sqrt(head_dim).")
    qk_norm: QkNorm = Field(default_factory=NoNorm, description="Norms on queries and keys.")
    clip: PositiveFloat | None = Field(None, description="Queries, keys and values are clamped to ± this.")
    softcap: PositiveFloat | None = Field(None, description="Scores become cap · tanh(score / cap).")
