"""Recurrent token mixers: what a position learns of the earlier ones comes through a state of fixed size."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat

from archc.archspec.vocabulary.base import Size, Word
from archc.archspec.vocabulary.mlp import Activation
from archc.archspec.vocabulary.norm import NoNorm, Norm


class StaticShift(Word):
    """Token shift: each input is a blend of the position's own vector and the one before it, by a weight for each
    channel (Peng et al. 2023, RWKV, eq. 11)."""

    kind: Literal["static"] = "static"
    weighs: Literal["current", "previous"] = Field(
        "current", description="Which of the two the stored weight w counts for; the other has 1 − w."
    )


class DynamicShift(Word):
    """Token shift whose weights depend on the data through a low-rank path (Peng et al. 2024, Eagle and Finch, eq. 16);
    the weights are those of the previous vector."""

    kind: Literal["dynamic"] = "dynamic"
    rank: Size = Field(description="Inner width of each input's path.")


TokenShift = Annotated[StaticShift | DynamicShift, Field(discriminator="kind")]


class LearnedDecay(Word):
    """A constant for each channel: exp(−exp(d))."""

    kind: Literal["learned"] = "learned"


class LowRankDecay(Word):
    """exp(−exp(d + up(tanh(down(x))))), computed from the input (Peng et al. 2024, section 4.2)."""

    kind: Literal["low-rank"] = "low-rank"
    rank: Size = Field(description="Inner width of the path.")


Decay = Annotated[LearnedDecay | LowRankDecay, Field(discriminator="kind")]


class HeadNorm(Word):
    """A layer norm of each head by itself, then a weight and a bias for each channel (Wu & He 2018, group norm)."""

    eps: PositiveFloat = Field(description="Added to the variance before the root.")


class DecayedAverage(Word):
    """An average of all values so far, for each channel: value s weighs exp(key s) · decay^(t−1−s), the newest
    exp(bonus + key t); times a sigmoid gate (Peng et al. 2023, RWKV, eq. 16)."""

    kind: Literal["decayed-average"] = "decayed-average"
    width: Size = Field(description="Channels of keys, values and gates.")
    shift: StaticShift = StaticShift(weighs="current")


class LinearAttention(Word):
    """A matrix for each head that decays by key channel and takes in kᵀv: y = r · (S + (bonus ⊙ k)ᵀ v),
    S ← decay ⊙ S + kᵀ v (Katharopoulos et al. 2020; Peng et al. 2024, Eagle and Finch, eq. 19)."""

    kind: Literal["linear-attention"] = "linear-attention"
    heads: Size = Field(description="Heads; each has a matrix of its own.")
    head_dim: Size = Field(description="Width of one head's keys and values.")
    shift: TokenShift
    decay: Decay
    norm: HeadNorm


class GiveValues(Word):
    """This layer's values are the ones that later layers mix in."""

    kind: Literal["give"] = "give"


class TakeValues(Word):
    """v + gate ⊙ (given v − v), gate = sigmoid(up(down(x)))."""

    kind: Literal["take"] = "take"
    rank: Size = Field(description="Inner width of the gate's path.")


ValueResidual = Annotated[GiveValues | TakeValues, Field(discriminator="kind")]


class DeltaRule(Word):
    """A matrix for each head that forgets by key channel, unlearns along one direction and takes in vᵀk:
    S ← S · (diag(w) − k̂ᵀ (a ⊙ k̂)) + vᵀ k (Yang et al. 2024; Peng et al. 2025, RWKV-7, section 4.1)."""

    kind: Literal["delta-rule"] = "delta-rule"
    heads: Size = Field(description="Heads; each has a matrix of its own.")
    head_dim: Size = Field(description="Width of one head's keys and values.")
    shift: StaticShift
    decay_rank: Size = Field(description="Inner width of the path to the decay, exp(−exp(−½) · sigmoid(.)).")
    rate_rank: Size = Field(description="Inner width of the path to a, the rate at which it learns in context.")
    gate_rank: Size = Field(description="Inner width of the path to the gate on the output.")
    value_residual: ValueResidual | None = Field(
        None, description="Values of an earlier layer in later layers' (Zhou et al. 2024)."
    )
    norm: HeadNorm


class SelectiveScan(Word):
    """A state-space model whose step, input and output depend on the data: h ← exp(Δ A) h + Δ B x, y = C h + D x, after
    a causal depthwise convolution and times a gate (Gu & Dao 2023, Mamba, section 3)."""

    kind: Literal["selective-scan"] = "selective-scan"
    width: Size = Field(description="Channels of x.")
    state: Size = Field(description="Numbers that each channel keeps.")
    step_rank: Size = Field(description="Inner width of the path to the step Δ.")
    kernel: int = Field(ge=2, le=1024, description="Taps of the convolution.")
    activation: Activation = Field(description="After the convolution, and on the gate.")
    bias: bool = Field(False, description="Whether the projections in and out add a bias.")
    kernel_bias: bool = Field(True, description="Whether the convolution adds one.")
    inner_norm: Norm = Field(default_factory=NoNorm, description="Norms on the step's path, on B and on C (Jamba).")


Recurrence = Annotated[DecayedAverage | LinearAttention | DeltaRule | SelectiveScan, Field(discriminator="kind")]
