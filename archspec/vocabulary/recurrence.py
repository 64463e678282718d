"""Recurrent token mixers: linear attention, delta rule and state-space models, with a state of fixed size."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat

from archc.archspec.vocabulary.base import Section, Size
from archc.archspec.vocabulary.matrix_state import Convolution, MatrixState
from archc.archspec.vocabulary.mlp import Activation
from archc.archspec.vocabulary.norm import NoNorm, Norm


class StaticShift(Section):
    """Token shift with a learned weight per channel: each input is a blend of the current and the previous vector
    (Peng et al. 2023, RWKV, eq. 11).
    """

    kind: Literal["static"] = "static"
    weighs: Literal["current", "previous"] = Field(
        "current", description="Vector that is scaled by the stored weight w; the other by 1 − w."
    )


class DynamicShift(Section):
    """Data-dependent token shift: a low-rank MLP computes the weight of the previous vector (Peng et al. 2024, Eagle
    and Finch, eq. 16).
    """

    kind: Literal["dynamic"] = "dynamic"
    rank: Size = Field(description="Inner width of the low-rank MLP of each input.")


TokenShift = Annotated[StaticShift | DynamicShift, Field(discriminator="kind")]


class LearnedDecay(Section):
    """A constant decay per channel: exp(−exp(d))."""

    kind: Literal["learned"] = "learned"


class LowRankDecay(Section):
    """A data-dependent decay: exp(−exp(d + up(tanh(down(x))))) (Peng et al. 2024, section 4.2)."""

    kind: Literal["low-rank"] = "low-rank"
    rank: Size = Field(description="Inner width of the low-rank MLP.")


Decay = Annotated[LearnedDecay | LowRankDecay, Field(discriminator="kind")]


class HeadNorm(Section):
    """Group norm with one group per head, then a weight and a bias per channel (Wu & He 2018)."""

    eps: PositiveFloat = Field(description="Added to the variance before the square root.")


class DecayedAverage(Section):
    """RWKV-4 time mixing: a per-channel average of all values, with weight exp(key s) · decay^(t−1−s) for positions
    s < t and exp(bonus + key t) for position t, times a sigmoid gate (Peng et al. 2023, RWKV, eq. 16).
    """

    kind: Literal["decayed-average"] = "decayed-average"
    width: Size = Field(description="Channels of keys, values and gates.")
    shift: StaticShift = StaticShift(weighs="current")


class LinearAttention(Section):
    """Linear attention with one matrix state per head and a decay per key channel: y = r · (S + (bonus ⊙ k)ᵀ v),
    S ← decay ⊙ S + kᵀ v (Katharopoulos et al. 2020; Peng et al. 2024, Eagle and Finch, eq. 19).
    """

    kind: Literal["linear-attention"] = "linear-attention"
    heads: Size = Field(description="Number of heads.")
    head_dim: Size = Field(description="Width of the keys and values of one head.")
    shift: TokenShift
    decay: Decay
    norm: HeadNorm


class ValueSource(Section):
    """The values v₀ of this layer are the input of the value residual in later layers."""

    kind: Literal["give"] = "give"


class ValueMix(Section):
    """v + gate ⊙ (v₀ − v), with gate = sigmoid(up(down(x))) and v₀ of the last layer with `give`."""

    kind: Literal["take"] = "take"
    rank: Size = Field(description="Inner width of the gate's low-rank MLP.")


ValueResidual = Annotated[ValueSource | ValueMix, Field(discriminator="kind")]


class DeltaRule(Section):
    """Generalized delta rule with one matrix state per head: S ← S · (diag(w) − k̂ᵀ (a ⊙ k̂)) + vᵀ k
    (Yang et al. 2024; Peng et al. 2025, RWKV-7, section 4.1).
    """

    kind: Literal["delta-rule"] = "delta-rule"
    heads: Size = Field(description="Number of heads.")
    head_dim: Size = Field(description="Width of the keys and values of one head.")
    shift: StaticShift
    decay_rank: Size = Field(description="Inner width of the low-rank MLP of the decay w = exp(−exp(−½) · sigmoid(.)).")
    rate_rank: Size = Field(description="Inner width of the low-rank MLP of the in-context learning rate a.")
    gate_rank: Size = Field(description="Inner width of the low-rank MLP of the output gate.")
    value_residual: ValueResidual | None = Field(None, description="Value residual across layers (Zhou et al. 2024).")
    norm: HeadNorm


class SelectiveScan(Section):
    """Selective state-space model: h ← exp(Δ A) h + Δ B x, y = C h + D x, after a causal depthwise convolution and
    times a gate, with data-dependent Δ, B and C (Gu & Dao 2023, Mamba, section 3).
    """

    kind: Literal["selective-scan"] = "selective-scan"
    width: Size = Field(description="Channels of x.")
    state: Size = Field(description="State size per channel.")
    heads: Size = Field(
        1,
        description="Equal groups of channels, which Δ, B and C of their own are projected from (Zamba).",
    )
    step_rank: Size = Field(description="Inner width of the low-rank projection of the step size Δ of a head.")
    kernel: int = Field(ge=2, le=1024, description="Kernel size of the convolution.")
    activation: Activation = Field(description="Activation after the convolution and on the gate.")
    bias: bool = Field(False, description="Add a bias to the input and output projections.")
    kernel_bias: bool = Field(True, description="Add a bias to the convolution.")
    inner_norm: Norm = Field(default_factory=NoNorm, description="Norms on the low-rank Δ, on B and on C (Jamba).")


class ShortConvolution(Section):
    """Gated short convolution: o(c ⊙ conv(b ⊙ x)) with projections b, c and x of the input (Liquid AI 2025, LFM2)."""

    kind: Literal["short-convolution"] = "short-convolution"
    width: Size = Field(description="Channels of b, c and x.")
    convolution: Convolution
    bias: bool = Field(False, description="Add a bias to the projections.")


class RgLru(Section):
    """Real-gated linear recurrent unit: h ← a ⊙ h + sqrt(1 − a²) ⊙ i ⊙ x with a = exp(−rate · r · softplus(Λ)) and the
    gates r and i, sigmoids of projections of x by block; x is convolved, and h times a gate is the output. The first
    input has the factor 1 (De et al. 2024, Griffin, section 2.4).
    """

    kind: Literal["rg-lru"] = "rg-lru"
    width: Size = Field(description="Channels of x.")
    blocks: Size = Field(description="Blocks of channels, each of which the gates project for itself.")
    convolution: Convolution
    activation: Activation = Field(description="Activation of the gate on the output.")
    rate: PositiveFloat = Field(8.0, description="Factor in the exponent of the decay.")
    bias: bool = Field(False, description="Add a bias to the input and output projections.")


Recurrence = Annotated[
    DecayedAverage | LinearAttention | DeltaRule | SelectiveScan | MatrixState | ShortConvolution | RgLru,
    Field(discriminator="kind"),
]
