"""Attention: the token mixers that read a KV cache."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat

from archc.archspec.vocabulary.base import DefaultKind, Section, Size
from archc.archspec.vocabulary.compression import Compression
from archc.archspec.vocabulary.front import LowRankAdapter
from archc.archspec.vocabulary.indexer import Indexer
from archc.archspec.vocabulary.norm import NoNorm, Norm, QkNorm


class ProjectionBias(Section):
    """Biases of the attention projections. A single boolean sets all keys."""

    qkv: bool = Field(default=False, description="Bias on the query, key and value projections.")
    keys: bool | None = Field(default=None, description="Bias on the key projection (DeBERTa). Default: `qkv`.")
    out: bool = Field(default=False, description="Bias on the output projection.")

    @property
    def on_keys(self) -> bool:
        """Return whether the key projection has a bias."""
        return self.qkv if self.keys is None else self.keys


class ProjectionGroups(Section):
    """Grouped projections, as convolutions with groups: equal groups of outputs read equal groups of inputs (Iandola et
    al. 2020, SqueezeBERT, section 3).
    """

    q: Size = Field(default=1, description="Groups of the query projection.")
    k: Size = Field(default=1, description="Groups of the key projection.")
    v: Size = Field(default=1, description="Groups of the value projection.")
    o: Size = Field(default=1, description="Groups of the output projection.")


class LocalizedFilter(Section):
    """norm(x + conv(conv(x))) with two causal convolutions of kernel size 2, as the input of the query and key
    projections; values are projected from x (Wu et al. 2023, Yuan 2.0, section 2.1).
    """

    width: Size = Field(description="Channels between the two convolutions.")
    norm: Norm


class AttentionGate(Section):
    """A gate on the output of the heads, before the output projection: y ⊙ activation(W x), x being the input of the
    layer (Qiu et al. 2025, Gated Attention for LLMs, section 2.2) or of its query projection.
    """

    over: Literal["channels", "heads"] = Field("channels", description="One gate for each channel, or for each head.")
    activation: Literal["sigmoid", "softplus"] = Field("sigmoid", description="Range of the gate: (0, 1), or above 0.")
    bias: bool = Field(False, description="Add a bias to W x.")
    head_bias: bool = Field(False, description="Add one number per head to W x; requires `over: channels` (Beam).")
    source: Literal["layer", "queries"] = Field(
        "layer", description="The input x. queries: that of the projection from the query latent (A.X K2)."
    )


class LogScale(Section):
    """max(1, log(p) / log(n)) for the position p, counted from 1, and the trained length n (Su 2021, log-n scaling;
    Qwen 1).
    """

    kind: Literal["log"] = "log"
    trained: Size = Field(description="Trained length n.")


class SteppedLogScale(Section):
    """1 + coefficient · ln(1 + floor((p + first) / span)) for the position p, counted from 0 (Llama 4, temperature
    tuning; Ministral 3).
    """

    kind: Literal["stepped-log"] = "stepped-log"
    coefficient: float = Field(description="Growth of the factor.")
    span: PositiveFloat = Field(description="Number of positions with the same factor.")
    first: Literal[0, 1] = Field(0, description="Number of the first position.")


class PowerScale(Section):
    """(1 + (p + first) / span) ^ exponent for the position p, counted from 0 (Beam)."""

    kind: Literal["power"] = "power"
    exponent: PositiveFloat = Field(description="Exponent.")
    span: PositiveFloat = Field(description="Positions that add 1 to the base.")
    first: Literal[0, 1] = Field(0, description="Number of the first position.")


class LearnedLogScale(Section):
    """a · ln(p) + b for the position p, counted from 1, with learned a and b by head (Mistral Large 4; Nakanishi 2025,
    Scalable-Softmax, section 3).
    """

    kind: Literal["learned-log"] = "learned-log"


QueryScale = Annotated[LogScale | SteppedLogScale | PowerScale | LearnedLogScale, Field(discriminator="kind")]


class QueryLatent(Section):
    """A low-rank query projection: queries are projected from norm(W x) (DeepSeek-AI 2024, DeepSeek-V2, eq. 12)."""

    width: Size = Field(description="Width of the latent.")
    norm: Norm = Field(description="Norm on the latent.")


class OutputLatent(Section):
    """A low-rank output projection by groups of heads: each group is projected to a latent of its own, and all latents
    together to the residual stream (DeepSeek-AI 2026, DeepSeek-V4, section 2.3.1).
    """

    groups: Size = Field(description="Number of groups; consecutive heads form a group.")
    width: Size = Field(description="Width of the latent of one group.")


class SpanConvolution(Section):
    """As many heads of a convolution as of attention, side by side before the output projection: its kernels are
    softmax(W (separable convolution(x) ⊙ q(x))), one for each token and head (Jiang et al. 2020, ConvBERT, section 3).
    """

    kernel: int = Field(ge=1, le=2**10, description="Kernel size, an odd number: the token and those around it.")


class ValueConvolution(Section):
    """A depthwise convolution of the values over the tokens on both sides, one kernel for each head, which is added to
    the output of the heads (Xiong et al. 2021, Nyströmformer, section 3.3).
    """

    kernel: int = Field(ge=1, le=2**10, description="Kernel size, an odd number: the token and those around it.")


class DifferentialHeads(Section):
    """Differential attention (Ye et al. 2024, Differential Transformer, section 2.1): (1 − init) · norm(y₁ − λ · y₂),
    with λ = exp(q₁ · k₁) − exp(q₂ · k₂) + init of learned vectors. y₁ are the first half of the heads and y₂ the
    second, over the same values of twice the width: those of key/value heads i and i + kv_heads / 2. The KV cache has
    these values for each of both.
    """

    init: float = Field(ge=0, lt=1, description="λ at the start of the training; often one for each layer.")
    norm: Norm = Field(description="Norm on each difference, 2 · head_dim wide.")


class HeadMixture(Section):
    """Mixture of attention heads (Zhang et al. 2022, section 3.1; Shen et al. 2024, JetMoE, section 2.2): an expert has
    a query and an output projection of `kv_heads` heads each. A router selects the experts of a token by their logits,
    whose softmax weighs their outputs; keys and values are those of all. `heads` counts the heads of the selected ones.
    """

    experts: int = Field(ge=1, le=4096, description="Number of experts, of which each token has heads / kv_heads.")


class DynamicMask(Section):
    """Dynamic mask attention (Shi et al. 2025, section 3): scores have the bias exp(a · softplus(W v)) of their key, v
    being the values of all heads and a learned by key/value head; a query attends to the keys of the largest biases.
    """

    keys: Size = Field(description="Number of keys that a query attends to; all if there are no more.")
    bias: bool = Field(False, description="Add a bias to W v.")


class GroupedQueries(Section):
    """Scaled dot-product attention with shared key/value heads (Vaswani et al. 2017; Ainslie et al. 2023)."""

    heads: Size = Field(description="Number of query heads.")
    kv_heads: Size = Field(description="Number of key/value heads; each is shared by heads / kv_heads query heads.")
    head_dim: Size = Field(description="Width of one head.")
    bias: ProjectionBias = Field(default_factory=ProjectionBias)
    scale: PositiveFloat | None = Field(None, description="Factor on the scores. Default: 1 / sqrt(head_dim).")
    qk_norm: QkNorm = Field(default_factory=NoNorm, description="Norm on queries and keys.")
    clip: PositiveFloat | None = Field(None, description="Clamp queries, keys and values to ±clip (MPT, OLMo).")
    softcap: PositiveFloat | None = Field(
        None, description="Score softcapping: cap · tanh(score / cap) (Gemma 2, Grok-1)."
    )


class GroupedQueryAttention(GroupedQueries):
    """Softmax attention with grouped queries (Ainslie et al. 2023); kv_heads = heads is MHA, kv_heads = 1 is MQA."""

    kind: Literal["grouped-query"] = "grouped-query"
    groups: ProjectionGroups = Field(default_factory=ProjectionGroups)
    adapter: LowRankAdapter | None = Field(None, description="Low-rank terms of queries, keys and values.")
    dynamic_mask: DynamicMask | None = Field(None, description="Bias and selection of keys by their values.")
    mixture: HeadMixture | None = Field(None, description="Heads that a router selects for each token.")
    gate: AttentionGate | None = Field(None, description="Gate on the output of the heads.")
    query_scale: QueryScale | None = Field(None, description="Factor on each query that grows with its position.")
    indexer: Indexer | None = Field(None, description="Scorer that selects the keys of each query. none: all keys.")
    sinks: bool = Field(
        False,
        description="Attention sinks: a learned logit per head in the softmax denominator only (Xiao et al. 2023; "
        "gpt-oss).",
    )
    value_dim: Size | None = Field(None, description="Width of the values of one head. Default: `head_dim`.")
    value_scale: PositiveFloat | None = Field(None, description="Factor on the values (MiMo-V2).")
    differential: DifferentialHeads | None = Field(None, description="Differences of pairs of heads.")
    output_norm: Norm = Field(
        default_factory=NoNorm, description="Norm on the output of all heads, before the output projection (BitNet)."
    )
    input_scale: PositiveFloat | None = Field(None, description="Factor on the input (Falcon H1).")
    output_scale: PositiveFloat | None = Field(None, description="Factor on the output (Falcon H1).")
    filter: LocalizedFilter | None = Field(None, description="Localized filter before the query and key projections.")
    key_norm: QkNorm | None = Field(None, description="Norm on the keys (DeepSeek-V4). Default: `qk_norm`.")
    query_latent: QueryLatent | None = Field(None, description="Latent that queries are projected from.")
    output_latent: OutputLatent | None = Field(None, description="Latents in the output projection.")
    values: Literal["projection", "keys", "rotated-keys"] = Field(
        "projection",
        description="keys: the values are the output of the key projection, before its norm and rotation; there is no "
        "value projection (Gemma 4). rotated-keys: the values are the keys, normed and rotated, which the cache has "
        "once; the output of the heads is rotated back by the position of its query (DeepSeek-V4).",
    )
    value_norm: Norm = Field(default_factory=NoNorm, description="Norm on the values of each head (Gemma 3n).")
    keys_values: Literal["own", "earlier"] = Field(
        "own",
        description="earlier: those of the nearest earlier layer that has its own and agrees in window, position and "
        "sizes of the heads; the layer has no key and value projections and no cache (Brandon et al. 2024, "
        "cross-layer attention; Gemma 3n).",
    )
    compression: Compression | None = Field(None, description="Compressed keys next to those of the window.")
    convolution: ValueConvolution | None = Field(None, description="Convolution of the values.")
    span_convolution: SpanConvolution | None = Field(None, description="Further heads, of a convolution.")
    window: Size | None = Field(
        None,
        description="Sliding window: number of keys that a query attends to, its own position included; in both "
        "directions, the number on each side. none: all keys.",
    )
    chunked: bool = Field(
        False,
        description="Chunked attention: the sequence is cut into chunks of `window` positions, and a query attends to "
        "keys of its own chunk only (Llama 4).",
    )

    @property
    def on_keys(self) -> QkNorm:
        """Return the norm on the keys."""
        return self.qk_norm if self.key_norm is None else self.key_norm

    @property
    def rotating_dim(self) -> int:
        """Return the width of the part of a query or key that a rotary embedding may rotate."""
        return self.head_dim

    @property
    def value_width(self) -> int:
        """Return the width of the values of one head."""
        return self.value_dim if self.value_dim is not None else self.head_dim

    @property
    def cached_value_width(self) -> int:
        """Return the width of the values of one head that the scores weigh."""
        return self.value_width * (1 if self.differential is None else 2)


class LatentBias(Section):
    """Biases of the projections of latent attention. A single boolean sets both keys."""

    down: bool = Field(default=False, description="Bias on the projections from the residual stream to the latents.")
    out: bool = Field(default=False, description="Bias on the output projection.")


class LatentAttention(Section):
    """Multi-head latent attention (DeepSeek-AI 2024, DeepSeek-V2, section 2.1): keys and values of all heads are
    projections of one normalized latent; a rotary part of the key is shared by all heads. The KV cache holds
    `latent` + `rope_dim` numbers per token, independent of the number of heads.
    """

    kind: Literal["latent"] = "latent"
    heads: Size = Field(description="Number of query heads.")
    latent: Size = Field(description="Width of the key/value latent.")
    query_latent: Size | None = Field(
        None, description="Width of the query latent. none: queries are projected from the residual stream."
    )
    queries: Literal["normed", "both"] = Field(
        "normed",
        description="Input of the projection from the query latent. normed: the latent after its norm. both: that, and "
        "next to it the latent before its norm (A.X K2).",
    )
    nope_dim: Size = Field(description="Width of the part of a query or key that does not rotate.")
    rope_dim: int = Field(
        ge=0, le=2**31 - 1, description="Width of the part of a query or key that rotates under a rotary embedding."
    )
    value_dim: Size = Field(description="Width of the values of one head.")
    norm: Norm = Field(description="Norm on each latent.")
    latent_scale: PositiveFloat | None = Field(None, description="Factor on the key/value latent after its norm.")
    query_latent_scale: PositiveFloat | None = Field(None, description="Factor on the query latent after its norm.")
    latents_of: int | None = Field(
        None,
        ge=0,
        le=2**16,
        description="Index of an earlier layer with latents of its own, of the same sizes and position, which the "
        "layer reads; it has no projection to a latent and no cache. none: its own (Mistral Large 4).",
    )
    rope_norm: Norm = Field(
        default_factory=NoNorm, description="Norm on the rotating part of the key, before its rotation (dots 3)."
    )
    bias: LatentBias = Field(default_factory=LatentBias)
    scale: PositiveFloat | None = Field(
        None, description="Factor on the scores. Default: 1 / sqrt(nope_dim + rope_dim)."
    )
    gate: AttentionGate | None = Field(None, description="Gate on the output of the heads.")
    query_scale: QueryScale | None = Field(None, description="Factor on each query that grows with its position.")
    indexer: Indexer | None = Field(None, description="Scorer that selects the keys of each query. none: all keys.")
    sinks: bool = Field(
        False,
        description="Attention sinks: a learned logit per head in the softmax denominator only (Xiao et al. 2023; "
        "gpt-oss).",
    )
    window: Size | None = Field(
        None,
        description="Sliding window: number of keys that a query attends to, its own position included; in both "
        "directions, the number on each side. none: all keys.",
    )

    @property
    def rotating_dim(self) -> int:
        """Return the width of the part of a query or key that a rotary embedding may rotate."""
        return self.rope_dim


Attention = Annotated[
    GroupedQueryAttention | LatentAttention, Field(discriminator="kind"), DefaultKind("grouped-query")
]


class CrossAttention(GroupedQueries):
    """Softmax attention of decoder queries over the encoder's output (Vaswani et al. 2017, section 3.2.3).

    Every key defaults to the same key of `attention`.
    """
