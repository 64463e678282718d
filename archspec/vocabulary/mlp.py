"""The position-wise branch of a layer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PositiveFloat

from archc.archspec.vocabulary.base import Size, Word

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
    beta: PositiveFloat | None = Field(
        None, description="silu becomes x · sigmoid(beta · x) (Ramachandran et al. 2017, Swish; gpt-oss)."
    )
    limit: PositiveFloat | None = Field(
        None, description="gate(x) is clamped to at most this, and up(x) to ± this (gpt-oss)."
    )
    up_offset: PositiveFloat | None = Field(None, description="Added to up(x) before the product (gpt-oss).")


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


DenseMlp = Annotated[PlainMlp | GatedMlp, Field(discriminator="kind")]


class ExpertGroups(Word):
    """Experts in equal groups; a token's experts come from the groups that score best (DeepSeek-V2 2024, section
    2.2.2; DeepSeek-V3 2024, section 2.1.2)."""

    count: Size = Field(description="How many groups the experts form, in their order.")
    chosen: Size = Field(description="How many groups a token may use.")
    by: Literal["max", "top-2"] = Field(
        "max", description="A group's score: its best expert's (DeepSeek-V2), or the sum of its best two (DeepSeek-V3)."
    )


class Router(Word):
    """Which experts a token uses, and with what weights: a projection to one logit for each expert, a score, the best
    `per_token` of them (Shazeer et al. 2017; Fedus et al. 2021)."""

    score: Literal["softmax", "sigmoid"] = Field(default="softmax", description="What makes a score of a logit.")
    over: Literal["all", "chosen"] = Field(
        default="all",
        description="all: every expert is scored, and the best scores choose and weigh. chosen: the best logits "
        "choose, and only theirs are scored (gpt-oss).",
    )
    renormalize: bool = Field(
        default=False, description="The chosen experts' weights are divided by their sum (Mixtral)."
    )
    scale: PositiveFloat | None = Field(
        default=None, description="Factor on the weights, after all else (DeepSeek-V2)."
    )
    bias: bool = Field(default=False, description="Whether the projection adds a bias.")
    selection_bias: bool = Field(
        default=False,
        description="A number for each expert that is added to its score for choosing, groups too, and not for "
        "weighing (Wang et al. 2024; DeepSeek-V3).",
    )
    groups: ExpertGroups | None = Field(
        default=None, description="A limit on the groups that a token's experts come from."
    )


class MoeMlp(Word):
    """Mixture of experts: the sum of a token's chosen experts, each times its weight (Shazeer et al. 2017), and of what
    every token passes (Dai et al. 2024, DeepSeekMoE)."""

    kind: Literal["moe"] = "moe"
    experts: Annotated[int, Field(gt=0, le=4096)] = Field(description="How many routed experts there are.")
    per_token: Size = Field(description="How many of them a token uses.")
    router: Router = Field(default_factory=Router)
    expert: DenseMlp = Field(description="What one routed expert is.")
    shared: DenseMlp | None = Field(
        None, description="An MLP that every token passes besides; several shared experts are one of their joint width."
    )
    shared_gate: bool = Field(
        False, description="What it gives is multiplied by sigmoid(a projection of x to one number) (Qwen2-MoE)."
    )


Mlp = Annotated[PlainMlp | GatedMlp | ChannelMixing | MoeMlp, Field(discriminator="kind")]
