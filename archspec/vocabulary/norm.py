"""Normalisations, and where a layer puts them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat

from archspec.vocabulary.base import Word


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
    shared: bool = Field(False, description="One norm feeds both branches; for `layer.residual: parallel` only.")


class PlacedRmsNorm(RmsNorm, Placement):
    __doc__ = RmsNorm.__doc__


class PlacedLayerNorm(LayerNorm, Placement):
    __doc__ = LayerNorm.__doc__


Norm = Annotated[RmsNorm | LayerNorm | NoNorm, Field(discriminator="kind")]
PlacedNorm = Annotated[PlacedRmsNorm | PlacedLayerNorm | NoNorm, Field(discriminator="kind")]
