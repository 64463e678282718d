"""How a model knows the order of its tokens."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat

from archc.archspec.vocabulary.base import Size, Word


class NoScaling(Word):
    """The trained frequencies as they are."""

    kind: Literal["none"] = "none"


class LinearScaling(Word):
    """inv_freq / factor: position interpolation (Chen et al. 2023)."""

    kind: Literal["linear"] = "linear"
    factor: PositiveFloat = Field(description="How much longer the context becomes.")


class DynamicScaling(Word):
    """NTK-aware base, growing with the current length L once L exceeds the trained length M:
    base · (factor·L/M − (factor − 1))^(d/(d−2)).

    A call rotates its new keys for the length it ends at; keys cached before keep the rotation they got, as a
    cached decoder of the reference does, so cached decoding past M differs from a full run.
    """

    kind: Literal["dynamic"] = "dynamic"
    factor: PositiveFloat = Field(description="How much longer the context becomes.")
    original_max_position_embeddings: Size = Field(description="The trained length M.")


class PromptNtkScaling(Word):
    """NTK-aware base, chosen by the length L of a sequence's first call and kept from then on:
    base · alpha^(d/(d−2)), alpha = max(2^ceil(log2(L / n) + 1) − 1, 1) for the trained length n (Qwen 1)."""

    kind: Literal["prompt-ntk"] = "prompt-ntk"
    trained: Size = Field(description="The trained length n.")


class Llama3Scaling(Word):
    """Frequencies divided by `factor` below a low band, kept above a high band, blended between (Llama 3.1)."""

    kind: Literal["llama3"] = "llama3"
    factor: PositiveFloat = Field(description="Divisor of the low frequencies.")
    low_freq_factor: PositiveFloat = Field(description="Trained length over the longest wavelength that is blended.")
    high_freq_factor: PositiveFloat = Field(description="Trained length over the shortest wavelength that is blended.")
    original_max_position_embeddings: Size = Field(description="The trained length.")


class YarnScaling(Word):
    """NTK-by-parts interpolation and an attention factor on cos and sin (Peng et al. 2023, sections 3.2 to 3.4)."""

    kind: Literal["yarn"] = "yarn"
    factor: PositiveFloat = Field(description="How much longer the context becomes.")
    original_max_position_embeddings: Size = Field(description="The trained length.")
    beta_fast: PositiveFloat = Field(32.0, description="Rotations above which a frequency is kept.")
    beta_slow: PositiveFloat = Field(1.0, description="Rotations below which a frequency is interpolated.")
    truncate: bool = Field(True, description="Round the band's edges to whole dimensions.")
    attention_factor: PositiveFloat | None = Field(
        None, description="Factor on cos and sin; by default from factor, mscale and mscale_all_dim."
    )
    mscale: PositiveFloat | None = Field(None, description="Share of the temperature on cos and sin (DeepSeek-V2).")
    mscale_all_dim: PositiveFloat | None = Field(None, description="Share of it that the score scale takes over.")


class LongRopeScaling(Word):
    """Frequencies divided by one factor each: a long list once a sequence outgrows the trained length, a short one
    before (Ding et al. 2024, LongRoPE; Phi-3).

    A call takes the list for the length it ends at; keys cached before keep the rotation they got.
    """

    kind: Literal["longrope"] = "longrope"
    long_factor: tuple[PositiveFloat, ...] = Field(min_length=1, description="One for each rotating pair.")
    short_factor: tuple[PositiveFloat, ...] = Field(min_length=1, description="One for each rotating pair.")
    original_max_position_embeddings: Size = Field(description="The trained length.")
    factor: PositiveFloat | None = Field(
        None, description="Context extension, longest over trained length; for the default of attention_factor."
    )
    attention_factor: PositiveFloat | None = Field(
        None, description="Factor on cos and sin; by default sqrt(1 + ln(factor) / ln(trained length))."
    )


RopeScaling = Annotated[
    NoScaling | LinearScaling | DynamicScaling | PromptNtkScaling | Llama3Scaling | YarnScaling | LongRopeScaling,
    Field(discriminator="kind"),
]


class Rope(Word):
    """Rotary position embedding (Su et al. 2021): queries and keys rotate by position · theta^(−2i/r)."""

    kind: Literal["rope"] = "rope"
    theta: PositiveFloat = Field(description="Base of the geometric series of wavelengths.")
    fraction: float = Field(
        1.0, gt=0.0, le=1.0, description="Share of each head that rotates (partial rotary); the rest passes through."
    )
    dim: Size | None = Field(None, description="How many dims of each head rotate, given as a count, not a fraction.")
    pairing: Literal["half", "interleaved"] = Field(
        "half", description="half: dim i rotates with dim i + r/2. interleaved: dim 2i rotates with dim 2i + 1."
    )
    scaling: RopeScaling = Field(default_factory=NoScaling, description="Context extension of the frequencies.")


class BlockRope(Word):
    """Two-dimensional rotary positions (Du et al. 2022, GLM, section 2.2; Su et al. 2021): the first half of each head
    rotates by a token's place in the text, the second by its place in the block that is being written.

    Needs `prefix`, which says where that block begins.
    """

    kind: Literal["block-rope"] = "block-rope"
    theta: PositiveFloat = Field(description="Base of the geometric series of wavelengths.")
    rounding: Literal["none", "float16"] = Field("none", description="Precision in which the frequencies are rounded.")


class Alibi(Word):
    """Attention with linear biases (Press et al. 2022): slope(head) · key position is added to the scores."""

    kind: Literal["alibi"] = "alibi"
    scaled: bool = Field(
        False, description="The bias is added before the scores are scaled, so that it is scaled with them."
    )
    slopes: Literal["interleaved", "next-power"] = Field(
        "interleaved",
        description="For head counts that are no power of two. interleaved: those of the power below, then every "
        "second one of the power above. next-power: those of the power above, odd ones first, cut to the count (MPT).",
    )
    max_bias: PositiveFloat = Field(8.0, description="The slopes run from 2^(−max_bias / n) to 2^(−max_bias).")
    rounding: Literal["none", "bfloat16"] = Field("none", description="Precision in which slope · position is rounded.")


class Learned(Word):
    """A table of learned absolute positions, added to the token embedding."""

    kind: Literal["learned"] = "learned"
    size: Size | None = Field(None, description="Positions that the table serves; by default `context`.")
    offset: int = Field(
        0, ge=0, le=2**16, description="Rows at the table's start that no position uses (OPT, RoBERTa)."
    )


class Sinusoidal(Word):
    """sin and cos of position · theta^(−2i/width), added to the token embedding (Vaswani et al. 2017, section 3.5)."""

    kind: Literal["sinusoidal"] = "sinusoidal"
    layout: Literal["interleaved", "halves"] = Field(
        "interleaved",
        description="interleaved: dim 2i is the sine and dim 2i + 1 the cosine of one angle. halves: all sines, then "
        "all cosines (Marian).",
    )
    theta: PositiveFloat = Field(10000.0, description="Base of the geometric series of wavelengths.")


class RelativeBuckets(Word):
    """A learned bias on the scores for each head and each bucket of distances (Raffel et al. 2020, section 2.1).

    Half of the buckets are single distances; the rest grow by powers up to max_distance, and the last has all beyond.
    A decoder's keys lie all on one side; an encoder's share the buckets, half for each side.
    """

    kind: Literal["relative-buckets"] = "relative-buckets"
    buckets: int = Field(ge=2, le=2**16, description="Rows of a table.")
    max_distance: int = Field(ge=2, le=2**16, description="The distance from which on the last bucket holds.")
    table: Literal["shared", "per-layer"] = Field(
        "shared", description="shared: all layers of a stack read one table (T5). per-layer: each has its own (umT5)."
    )


class NoPosition(Word):
    """No position signal at all."""

    kind: Literal["none"] = "none"


Position = Annotated[
    Rope | BlockRope | Alibi | Learned | Sinusoidal | RelativeBuckets | NoPosition, Field(discriminator="kind")
]
