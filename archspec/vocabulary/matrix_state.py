"""The recurrence of gated delta nets, Mamba-2 and lightning attention: a matrix state for each head."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat

from archc.archspec.vocabulary.base import Section, Size
from archc.archspec.vocabulary.mlp import Activation
from archc.archspec.vocabulary.norm import NoNorm, RmsNorm


class Convolution(Section):
    """A causal depthwise convolution: a weighted sum of the last inputs of a channel (Gu & Dao 2023, section 3.4)."""

    kernel: int = Field(ge=2, le=1024, description="Kernel size: number of inputs in a sum.")
    bias: bool = Field(False, description="Add a bias.")


class L2Norm(Section):
    """x · rsqrt(Σ x² + eps)."""

    kind: Literal["l2norm"] = "l2norm"
    eps: PositiveFloat = Field(description="Added to the sum of squares before the square root.")


class ProjectedDecay(Section):
    """The projection W that a data-dependent decay begins with."""

    over: Literal["heads", "channels"] = Field(
        "heads", description="One number for each head, or for each channel of a key (Kimi Team 2025, KDA)."
    )
    rank: Size | None = Field(None, description="Inner width of W = up · down. none: one matrix.")


class StepDecay(ProjectedDecay):
    """A data-dependent decay exp(−exp(a) · Δ) of step size Δ = softplus(W x + b), with a learned by head (Dao & Gu
    2024, Mamba-2, section 7; Yang et al. 2025, gated DeltaNet).
    """

    kind: Literal["step"] = "step"
    least: NonNegativeFloat = Field(0.0, description="Lower limit of the step size.")
    most: PositiveFloat | None = Field(None, description="Upper limit of the step size. none: no limit.")
    scales_values: bool = Field(False, description="Multiply the values by the step size (Mamba-2).")


class BoundedDecay(ProjectedDecay):
    """A data-dependent decay exp(−bound · sigmoid(exp(a) · (W x + b))), with a learned by head (Ling 3)."""

    kind: Literal["bounded"] = "bounded"
    bound: PositiveFloat = Field(description="Limit of the exponent.")


class FixedDecay(Section):
    """A constant decay by head, exp(−factor · 2^(−8 (h + 1) / heads)) (Qin et al. 2024, lightning attention)."""

    kind: Literal["fixed"] = "fixed"
    factor: PositiveFloat = Field(1.0, description="Factor on the exponent.")


class OutputNorm(RmsNorm):
    """RMS norm on the output of the heads, over equal groups of their channels."""

    groups: Size = Field(1, description="Number of groups, each with statistics of its own.")
    weights: Literal["shared", "by-group"] = Field(
        "by-group", description="shared: one weight vector for all groups, of the width of one."
    )


class OutputGate(Section):
    """A gate on the output of the heads: y ⊙ activation(W x)."""

    activation: Literal["silu", "sigmoid"] = Field("silu", description="Activation of the gate.")
    order: Literal["before", "after"] = Field("after", description="Before or after the norm.")
    rank: Size | None = Field(None, description="Inner width of W = up · down. none: one matrix.")


class ProjectionScales(Section):
    """Factors on the projections of the input, before the convolution (Falcon H1)."""

    queries: PositiveFloat | None = Field(default=None, description="Factor on the queries.")
    keys: PositiveFloat | None = Field(default=None, description="Factor on the keys.")
    values: PositiveFloat | None = Field(default=None, description="Factor on the values.")
    gate: PositiveFloat | None = Field(default=None, description="Factor on the gate, before its activation.")
    step: PositiveFloat | None = Field(
        default=None, description="Factor on the projection to the step size, before its bias."
    )


class MatrixState(Section):
    """A recurrence with one matrix state per head: y = q · S after S ← decay ⊙ S + kᵀ v, or after the delta rule
    S ← S' + β kᵀ (v − k · S'), S' = decay ⊙ S, β = sigmoid(W x) (Yang et al. 2025, gated DeltaNet, eq. 10; Dao & Gu
    2024, Mamba-2, where q, k, v are C, B, x).
    """

    kind: Literal["matrix-state"] = "matrix-state"
    heads: Size = Field(description="Number of states: heads of the values.")
    key_heads: Size | None = Field(
        None, description="Heads of queries and keys, each for heads / key_heads states. Default: `heads`."
    )
    key_dim: Size = Field(description="Width of the queries and keys of one head.")
    value_dim: Size = Field(description="Width of the values of one head.")
    update: Literal["add", "delta"] = Field("add", description="add: kᵀ v. delta: the delta rule.")
    rate_scale: PositiveFloat = Field(1.0, description="Factor on the rate β of the delta rule (OLMo Hybrid: 2).")
    convolution: Convolution | None = Field(None, description="Convolution on queries, keys and values.")
    activation: Activation | None = Field(None, description="On queries, keys and values, after the convolution.")
    qk_norm: Annotated[L2Norm | RmsNorm | NoNorm, Field(discriminator="kind")] = Field(
        default_factory=NoNorm, description="Norm on each head of queries and keys."
    )
    scale: PositiveFloat = Field(1.0, description="Factor on the queries.")
    decay: Annotated[StepDecay | BoundedDecay | FixedDecay, Field(discriminator="kind")]
    skip: bool = Field(False, description="Add the values to the output, times one weight per head (Mamba-2, D).")
    norm: Annotated[OutputNorm | NoNorm, Field(discriminator="kind")] = Field(
        default_factory=NoNorm, description="Norm on the output of the heads."
    )
    gate: OutputGate | None = Field(None, description="Gate on the output of the heads.")
    bias: bool = Field(False, description="Add a bias to the projections.")
    output_bias: bool | None = Field(None, description="Add a bias to the output projection. Default: `bias`.")
    input_scale: PositiveFloat | None = Field(None, description="Factor on the input (Falcon H1).")
    scales: ProjectionScales = Field(default_factory=ProjectionScales)
    output_scale: PositiveFloat | None = Field(None, description="Factor on the output (Falcon H1).")

    @property
    def keys(self) -> int:
        """Return the number of channels of the queries, and of the keys."""
        return (self.key_heads or self.heads) * self.key_dim

    @property
    def values(self) -> int:
        """Return the number of channels of the values."""
        return self.heads * self.value_dim
