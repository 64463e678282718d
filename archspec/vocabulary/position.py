"""Position encodings: rotary embeddings and their context extensions, ALiBi, absolute and relative tables."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat

from archc.archspec.vocabulary.base import Section, Size
from archc.archspec.vocabulary.norm import NoNorm, Norm


class NoScaling(Section):
    """The trained frequencies, unchanged."""

    kind: Literal["none"] = "none"


class LinearScaling(Section):
    """Position interpolation: inv_freq / factor (Chen et al. 2023)."""

    kind: Literal["linear"] = "linear"
    factor: PositiveFloat = Field(description="Extended context length over trained length.")


class DynamicScaling(Section):
    """Dynamic NTK scaling: for a current length L greater than the trained length M, the rotary base is
    base · (factor·L/M − (factor − 1))^(d/(d−2)).

    Each call rotates its new keys for the length at its end; cached keys keep their rotation, as in the reference
    implementation. Cached decoding beyond M therefore differs from a full forward pass.
    """

    kind: Literal["dynamic"] = "dynamic"
    factor: PositiveFloat = Field(description="Extended context length over trained length.")
    original_max_position_embeddings: Size = Field(description="Trained length M.")


class PromptNtkScaling(Section):
    """NTK scaling fixed by the prompt: for a first call of length L, the rotary base is base · alpha^(d/(d−2)) with
    alpha = max(2^ceil(log2(L / n) + 1) − 1, 1) and the trained length n (Qwen 1). Later calls keep this base.
    """

    kind: Literal["prompt-ntk"] = "prompt-ntk"
    trained: Size = Field(description="Trained length n.")


class Llama3Scaling(Section):
    """Low frequencies divided by `factor`, high frequencies unchanged, and a linear blend in between (Llama 3.1)."""

    kind: Literal["llama3"] = "llama3"
    factor: PositiveFloat = Field(description="Divisor of the low frequencies.")
    low_freq_factor: PositiveFloat = Field(description="Trained length over the longest blended wavelength.")
    high_freq_factor: PositiveFloat = Field(description="Trained length over the shortest blended wavelength.")
    original_max_position_embeddings: Size = Field(description="Trained length.")


class YarnScaling(Section):
    """YaRN: NTK-by-parts interpolation and an attention factor on cos and sin (Peng et al. 2023, sections 3.2–3.4)."""

    kind: Literal["yarn"] = "yarn"
    factor: PositiveFloat = Field(description="Extended context length over trained length.")
    original_max_position_embeddings: Size = Field(description="Trained length.")
    beta_fast: PositiveFloat = Field(32.0, description="Rotations above which a frequency is not interpolated.")
    beta_slow: PositiveFloat = Field(1.0, description="Rotations below which a frequency is fully interpolated.")
    truncate: bool = Field(True, description="Round the bounds of the blended band to whole dimensions.")
    attention_factor: PositiveFloat | None = Field(
        None, description="Factor on cos and sin. Default: computed from factor, mscale and mscale_all_dim."
    )
    mscale: PositiveFloat | None = Field(
        None, description="Coefficient of the attention temperature on cos and sin (DeepSeek-V2)."
    )
    mscale_all_dim: PositiveFloat | None = Field(
        None, description="Coefficient of the part of the temperature that the score scale contains (DeepSeek-V2)."
    )


class LongRopeScaling(Section):
    """LongRoPE: one divisor per frequency, from the long list if the sequence exceeds the trained length, else from the
    short list (Ding et al. 2024; Phi-3).

    Each call selects the list by the length at its end; cached keys keep their rotation, unless `reread` is set.
    """

    kind: Literal["longrope"] = "longrope"
    long_factor: tuple[PositiveFloat, ...] = Field(min_length=1, description="Divisors, one per rotating pair.")
    short_factor: tuple[PositiveFloat, ...] = Field(min_length=1, description="Divisors, one per rotating pair.")
    original_max_position_embeddings: Size = Field(description="Trained length.")
    factor: PositiveFloat | None = Field(
        None, description="Extended context length over trained length, for the default of attention_factor."
    )
    attention_factor: PositiveFloat | None = Field(
        None, description="Factor on cos and sin. Default: sqrt(1 + ln(factor) / ln(trained length))."
    )


class ProportionalScaling(Section):
    """Frequencies of the whole head: dimension i rotates with i + head_dim/2 by theta^(−2i/head_dim) / factor if i is
    less than `fraction` · head_dim/2, and does not rotate otherwise (Gemma 4).
    """

    kind: Literal["proportional"] = "proportional"
    factor: PositiveFloat = Field(1.0, description="Divisor of the frequencies.")


RopeScaling = Annotated[
    NoScaling
    | LinearScaling
    | ProportionalScaling
    | DynamicScaling
    | PromptNtkScaling
    | Llama3Scaling
    | YarnScaling
    | LongRopeScaling,
    Field(discriminator="kind"),
]


class Rope(Section):
    """Rotary position embedding (Su et al. 2021): rotates queries and keys by position · theta^(−2i/r)."""

    kind: Literal["rope"] = "rope"
    theta: PositiveFloat = Field(description="Base of the geometric series of wavelengths.")
    fraction: float = Field(
        1.0, gt=0.0, le=1.0, description="Fraction of each head that rotates (partial rotary embedding)."
    )
    dim: Size | None = Field(
        None, description="Number of rotating dimensions of each head; an alternative to `fraction`."
    )
    pairing: Literal["half", "interleaved"] = Field(
        "half", description="half: dimension i rotates with i + r/2. interleaved: dimension 2i rotates with 2i + 1."
    )
    part: Literal["first", "last"] = Field("first", description="Place of the rotating dimensions in a head.")
    reverse: bool = Field(False, description="Rotate by −position: backward (nanochat).")
    scaling: RopeScaling = Field(default_factory=NoScaling, description="Context extension of the frequencies.")
    learned: bool = Field(
        False,
        description="Multiply each frequency by exp(a), with learned numbers a that layers share.",
    )
    reread: bool = Field(
        False, description="With longrope, read a sequence again when generation passes the trained length (Phi-3)."
    )


class BlockRope(Section):
    """Two-dimensional rotary embedding (Du et al. 2022, GLM, section 2.2; Su et al. 2021): the first half of each head
    rotates by the position in the prompt, the second half by the position in the generated block. Requires `prefix`.
    """

    kind: Literal["block-rope"] = "block-rope"
    theta: PositiveFloat = Field(description="Base of the geometric series of wavelengths.")
    rounding: Literal["none", "float16"] = Field("none", description="Precision to which the frequencies are rounded.")


class Alibi(Section):
    """Attention with linear biases: adds −slope(head) · |query position − key position| to the scores (Press et al.
    2022; Günther et al. 2023, Jina Embeddings 2, section 3.1, for keys on both sides).
    """

    kind: Literal["alibi"] = "alibi"
    scaled: bool = Field(False, description="Add the bias before the score scale, which then applies to the bias too.")
    slopes: Literal["interleaved", "next-power"] = Field(
        "interleaved",
        description="Slopes for a number of heads n that is not a power of two. interleaved: the slopes of the next "
        "lower power, then every second slope of the next higher one. next-power: the slopes of the next higher power, "
        "odd indices first, truncated to n (MPT).",
    )
    max_bias: PositiveFloat = Field(8.0, description="The slopes range from 2^(−max_bias / n) to 2^(−max_bias).")
    rounding: Literal["none", "bfloat16"] = Field("none", description="Precision to which slope · position is rounded.")


class Learned(Section):
    """A table of learned absolute position embeddings, added to the token embedding."""

    kind: Literal["learned"] = "learned"
    size: Size | None = Field(None, description="Number of positions in the table. Default: `context`.")
    offset: int = Field(0, ge=0, le=2**16, description="Unused rows at the start of the table (OPT, RoBERTa).")


class Sinusoidal(Section):
    """sin and cos of (first + position) · theta^(−2i/width), added to the token embedding (Vaswani et al. 2017,
    section 3.5).
    """

    kind: Literal["sinusoidal"] = "sinusoidal"
    layout: Literal["interleaved", "halves"] = Field(
        "interleaved",
        description="interleaved: dimensions 2i and 2i + 1 are sine and cosine of one angle. halves: all sines, then "
        "all cosines (Marian).",
    )
    theta: PositiveFloat = Field(10000.0, description="Base of the geometric series of wavelengths.")
    spacing: Literal["half-open", "closed"] = Field(
        "half-open",
        description="Exponents of the n = width/2 frequencies theta^(−e). half-open: e = i/n. closed: e = i/(n − 1), "
        "so that the last frequency is 1/theta (Tensor2Tensor; M2M-100).",
    )
    first: int = Field(0, ge=0, le=2**16, description="Position of the first token (M2M-100).")


class RelativeBuckets(Section):
    """T5 relative position bias: a learned score bias per head and distance bucket (Raffel et al. 2020, section 2.1).

    Half of the buckets are single distances; the others grow logarithmically up to `max_distance`. In an encoder, half
    of the buckets are for keys on the left and half for keys on the right.
    """

    kind: Literal["relative-buckets"] = "relative-buckets"
    buckets: int = Field(ge=2, le=2**16, description="Number of buckets.")
    max_distance: int = Field(ge=2, le=2**16, description="Distances from this one on share the last bucket.")
    table: Literal["shared", "per-layer"] = Field(
        "shared", description="shared: one table per stack (T5). per-layer: one table per layer (umT5)."
    )


class PositionBias(Section):
    """Biases of the projections of the table of relative positions. A single boolean sets both keys."""

    keys: bool = Field(default=False, description="Bias on the projection to keys.")
    queries: bool = Field(default=False, description="Bias on the projection to queries.")


class Disentangled(Section):
    """Disentangled attention (He et al. 2021, DeBERTa, section 3.1): scores q(x)·k(y) + q(x)·k(P) + k(y)·q(P), where P
    is the row for the distance from query to key in one table, which each layer projects.

    The table has `span` rows for each side. Distances beyond share the last one.
    """

    kind: Literal["disentangled"] = "disentangled"
    span: int = Field(ge=2, le=2**16, description="Number of distances, or of buckets of them, to one side.")
    max_distance: Size | None = Field(
        None,
        description="Half of the buckets are single distances, and the others grow logarithmically up to this one "
        "(DeBERTa-v2). none: every distance has its row.",
    )
    keys: bool = Field(True, description="Add q(x)·k(P), content to position.")
    queries: bool = Field(True, description="Add k(y)·q(P), position to content.")
    projections: Literal["own", "shared"] = Field(
        "own", description="own: P has projections of its own in each layer. shared: those of the tokens (DeBERTa-v3)."
    )
    bias: PositionBias = Field(default_factory=PositionBias)
    norm: Norm = Field(default_factory=NoNorm, description="Norm on the rows of the table.")


class NoPosition(Section):
    """No position encoding."""

    kind: Literal["none"] = "none"


Position = Annotated[
    Rope | BlockRope | Alibi | Learned | Sinusoidal | RelativeBuckets | Disentangled | NoPosition,
    Field(discriminator="kind"),
]
