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
    Literal["silu", "gelu", "gelu_tanh", "relu", "relu2"],
    BeforeValidator(_canonical_activation),
    Field(
        description="gelu is exact (erf), gelu_tanh its tanh approximation (Hendrycks & Gimpel 2016); "
        "relu2 is relu squared (So et al. 2021)."
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


class ChannelMixing(Word):
    """down(act(up(k))), where k is the input with token shift; with a receptance, times sigmoid(receptance(r)), where r
    has a shift of its own (Peng et al. 2023, RWKV, eq. 17)."""

    kind: Literal["channel-mixing"] = "channel-mixing"
    width: Size = Field(description="Hidden width of the branch.")
    activation: Activation
    receptance: bool = Field(True, description="Whether there is a gate on the result.")
    weighs: Literal["current", "previous"] = Field(
        "current", description="Which vector the shift's stored weight w counts for; the other has 1 − w."
    )


Mlp = Annotated[PlainMlp | GatedMlp | ChannelMixing, Field(discriminator="kind")]
