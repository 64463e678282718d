"""Normalisations, and where a layer puts them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat

from archc.archspec.vocabulary.base import Word


class RmsNorm(Word):
    """x · rsqrt(mean(x²) + eps) · weight (Zhang & Sennrich 2019, eq. 4), statistics in float32."""

    kind: Literal["rmsnorm"] = "rmsnorm"
    eps: PositiveFloat = Field(description="Added to the mean square before the root.")
    unit_offset: bool = Field(False, description="The stored weight is a difference from one: scale by (1 + weight).")


class LayerNorm(Word):
    """(x − mean) · rsqrt(var + eps) · weight + bias (Ba et al. 2016), statistics in float32."""

    kind: Literal["layernorm"] = "layernorm"
    eps: PositiveFloat = Field(description="Added to the variance before the root.")
    bias: bool = Field(True, description="Whether a bias is added.")
    affine: bool = Field(True, description="Whether there is a weight; without one `bias` must be false (OLMo).")
    unit_offset: bool = Field(False, description="The stored weight is a difference from one (Nemotron-4).")


class NoNorm(Word):
    """The identity."""

    kind: Literal["none"] = "none"


class Placement(Word):
    """Where a layer's norms stand around its two branches (mixer and MLP)."""

    placement: Literal["pre", "post", "sandwich", "output"] = Field(
        "pre",
        description="pre: on the branch's input. post: after the residual sum (Vaswani et al. 2017). "
        "sandwich: on the branch's input and on its output. output: on the branch's output only.",
    )
    branches: Literal["both", "mixer", "mlp"] = Field(
        "both", description="Which branches have a norm at all; ModernBERT's first layer has none on its mixer."
    )
    shared: bool = Field(False, description="One norm feeds both branches; for `layer.residual: parallel` only.")


class Stretch(Word):
    """What part of the queries and keys a norm on them takes together, and how many weights it has."""

    over: Literal["head", "projection"] = Field(
        "head", description="head: each head by itself (Henry et al. 2020). projection: all heads at once (OLMo 2)."
    )
    weights: Literal["shared", "per-head"] = Field(
        "shared", description="per-head: a weight of its own for each head (Command R+, StableLM); for `over: head`."
    )


class QkRmsNorm(RmsNorm, Stretch):
    """An RMS norm on queries and keys, before they rotate."""


class QkLayerNorm(LayerNorm, Stretch):
    """A layer norm on queries and keys, before they rotate."""


class PlacedRmsNorm(RmsNorm, Placement):
    """A layer's RMS norm: x · rsqrt(mean(x²) + eps) · weight, at its place."""


class PlacedLayerNorm(LayerNorm, Placement):
    """A layer's layer norm: (x − mean) · rsqrt(var + eps) · weight + bias, at its place."""


Norm = Annotated[RmsNorm | LayerNorm | NoNorm, Field(discriminator="kind")]
PlacedNorm = Annotated[PlacedRmsNorm | PlacedLayerNorm | NoNorm, Field(discriminator="kind")]
QkNorm = Annotated[QkRmsNorm | QkLayerNorm | NoNorm, Field(discriminator="kind")]
