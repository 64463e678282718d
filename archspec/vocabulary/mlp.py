"""The position-wise branch of a layer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from archspec.vocabulary.base import Size, Word

# Spellings that checkpoints use for the same function.
ACTIVATION_ALIASES = {
    "swish": "silu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python": "gelu",
}


def _canonical_activation(value: object) -> object:
    return ACTIVATION_ALIASES.get(value, value) if isinstance(value, str) else value


Activation = Annotated[
    Literal["silu", "gelu", "gelu_tanh", "relu", "relu2", "xielu"],
    BeforeValidator(_canonical_activation),
    Field(
        description="gelu is exact (erf), gelu_tanh its tanh approximation (Hendrycks & Gimpel 2016); "
        "relu2 is relu squared (So et al. 2021); xielu is p·x² above zero and n·(e^x − 1 − x) below, and x/2 besides, "
        "with p = softplus and n = 1/2 + softplus of two learned numbers (Huang & Schlag 2024)."
    ),
]


class PlainMlp(Word):
    """down(act(up(x)))."""

    kind: Literal["plain"] = "plain"
    width: Size = Field(description="Hidden width of the branch.")
    activation: Activation
    bias: bool = Field(False, description="Whether the projections add a bias.")


class GatedMlp(Word):
    """down(act(gate(x)) · up(x)) (Shazeer 2020); SwiGLU with silu, GeGLU with gelu."""

    kind: Literal["gated"] = "gated"
    width: Size = Field(description="Hidden width of the branch.")
    activation: Activation
    bias: bool = Field(False, description="Whether the projections add a bias.")


Mlp = Annotated[PlainMlp | GatedMlp, Field(discriminator="kind")]
