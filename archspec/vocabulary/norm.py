"""Normalization layers, their placement in a layer, and norms on queries and keys."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat

from archc.archspec.vocabulary.base import Section, Size


class RmsNorm(Section):
    """x · rsqrt(mean(x²) + eps) · weight, with statistics in float32 (Zhang & Sennrich 2019, eq. 4)."""

    kind: Literal["rmsnorm"] = "rmsnorm"
    eps: PositiveFloat = Field(description="Added to the mean square before the square root.")
    affine: bool = Field(True, description="Multiply by a weight.")
    unit_offset: bool = Field(False, description="The stored weight is an offset from 1: scale by (1 + weight).")


class LayerNorm(Section):
    """(x − mean) · rsqrt(var + eps) · weight + bias, with statistics in float32 (Ba et al. 2016)."""

    kind: Literal["layernorm"] = "layernorm"
    eps: PositiveFloat = Field(description="Added to the variance before the square root.")
    bias: bool = Field(True, description="Add a bias.")
    affine: bool = Field(True, description="Multiply by a weight; `affine: false` requires `bias: false` (OLMo).")
    unit_offset: bool = Field(
        False, description="The stored weight is an offset from 1: scale by (1 + weight) (Nemotron-4)."
    )


class NoNorm(Section):
    """The identity."""

    kind: Literal["none"] = "none"


class NormGate(Section):
    """A low-rank gate on the output y of a norm: y ⊙ sigmoid(B · silu(A y)) (SK Telecom 2026, A.X K2)."""

    rank: Size = Field(description="Rows of A, and columns of B.")
    branches: Literal["both", "mixer"] = Field("both", description="Branches whose norm has a gate.")


class Placement(Section):
    """Positions of a layer's norms around its two branches (mixer and MLP)."""

    placement: Literal["pre", "post", "sandwich", "output"] = Field(
        "pre",
        description="pre: on the branch's input. post: after the residual sum (Vaswani et al. 2017). "
        "sandwich: on the branch's input and output. output: on the branch's output only.",
    )
    mlp_placement: Literal["pre", "sandwich", "output"] | None = Field(
        None, description="Position around the MLP (A.X K1). Default: `placement`."
    )
    branches: Literal["both", "mixer", "mlp"] = Field(
        "both", description="Branches with a norm; the mixer of ModernBERT's first layer has none."
    )
    output_eps: PositiveFloat | None = Field(
        None, description="Eps of the norm on a branch's output with `sandwich`. Default: `eps`."
    )
    shared: bool = Field(False, description="One norm feeds both branches; requires `layer.residual: parallel`.")
    gate: NormGate | None = Field(None, description="Gate on the output of a norm; requires `placement: pre`.")


class NormScope(Section):
    """The part of the queries and keys that a norm averages over, and the sharing of its weights."""

    over: Literal["head", "projection"] = Field(
        "head", description="head: each head separately (Henry et al. 2020). projection: all heads jointly (OLMo 2)."
    )
    weights: Literal["shared", "per-head"] = Field(
        "shared", description="per-head: one weight vector per head (Command R+, StableLM); requires `over: head`."
    )
    order: Literal["before", "after"] = Field(
        "before", description="Before or after the rotary embedding (Hunyuan); after requires `over: head`."
    )


class QkRmsNorm(RmsNorm, NormScope):
    """RMS norm on queries and keys."""


class QkLayerNorm(LayerNorm, NormScope):
    """Layer norm on queries and keys."""


class PlacedRmsNorm(RmsNorm, Placement):
    """RMS norm of a layer: x · rsqrt(mean(x²) + eps) · weight, at its `placement`."""


class PlacedLayerNorm(LayerNorm, Placement):
    """Layer norm of a layer: (x − mean) · rsqrt(var + eps) · weight + bias, at its `placement`."""


Norm = Annotated[RmsNorm | LayerNorm | NoNorm, Field(discriminator="kind")]
PlacedNorm = Annotated[PlacedRmsNorm | PlacedLayerNorm | NoNorm, Field(discriminator="kind")]
QkNorm = Annotated[QkRmsNorm | QkLayerNorm | NoNorm, Field(discriminator="kind")]
