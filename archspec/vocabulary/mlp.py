"""MLPs: the position-wise branch of a layer, dense or with a mixture of experts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PositiveFloat

from archc.archspec.vocabulary.base import Section, Size
from archc.archspec.vocabulary.front import LowRankAdapter
from archc.archspec.vocabulary.norm import NoNorm, Norm

# Names of one function in different checkpoints.
ACTIVATION_ALIASES = {
    "swish": "silu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python": "gelu",
}


def canonical_activation(value: object) -> object:
    """Return the vocabulary's name of an activation, if the value is another name of it."""
    return ACTIVATION_ALIASES.get(value, value) if isinstance(value, str) else value


Activation = Annotated[
    Literal["silu", "gelu", "gelu_tanh", "quick_gelu", "relu", "relu2", "xielu"],
    BeforeValidator(canonical_activation),
    Field(
        description="gelu: exact (erf). gelu_tanh: its tanh approximation (Hendrycks & Gimpel 2016). quick_gelu: "
        "x · sigmoid(1.702 x) (ibid., section 2). relu2: squared relu (So et al. 2021). xielu: p·x² + x/2 for x > 0, "
        "n·(e^x − 1 − x) + x/2 otherwise, with learned p = softplus(.) and n = 1/2 + softplus(.) (Huang & Schlag 2024)."
    ),
]

_DOWN_BIAS = "Add a bias to the projection from the hidden width (GTE). Default: `bias`."


class MlpGroups(Section):
    """Grouped projections: equal groups of outputs read equal groups of inputs (Iandola et al. 2020, SqueezeBERT)."""

    up: Size = Field(default=1, description="Groups of the projection to the hidden width.")
    down: Size = Field(default=1, description="Groups of the projection from the hidden width.")


class PlainMlp(Section):
    """down(act(up(x)))."""

    kind: Literal["plain"] = "plain"
    groups: MlpGroups = Field(default_factory=MlpGroups)
    width: Size = Field(description="Hidden width.")
    activation: Activation
    bias: bool = Field(False, description="Add a bias to the projections.")
    down_bias: bool | None = Field(None, description=_DOWN_BIAS)

    @property
    def has_down_bias(self) -> bool:
        """Return whether the projection from the hidden width has a bias."""
        return self.bias if self.down_bias is None else self.down_bias


class GatedMlp(Section):
    """down(act(gate(x)) · up(x)) (Shazeer 2020): SwiGLU with silu, GeGLU with gelu."""

    kind: Literal["gated"] = "gated"
    width: Size = Field(description="Hidden width.")
    activation: Activation
    bias: bool = Field(False, description="Add a bias to the projections.")
    down_bias: bool | None = Field(None, description=_DOWN_BIAS)
    beta: PositiveFloat | None = Field(
        None,
        description="Swish with a factor: x · sigmoid(beta · x) instead of silu (Ramachandran et al. 2017; gpt-oss).",
    )
    limit: PositiveFloat | None = Field(
        None, description="Clamp gate(x) from above to the limit, and up(x) to ±limit (gpt-oss)."
    )
    activation_limit: PositiveFloat | None = Field(
        None, description="Clamp act(gate(x)) from above to the limit, and up(x) to ±limit (Step 3.5)."
    )
    up_offset: PositiveFloat | None = Field(None, description="Added to up(x) before the product (gpt-oss).")
    sparsity: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Fraction of gate(x) that Gaussian top-k sets to zero before the activation: relu(g − mean − z · "
        "std) over the channels g, z the quantile of the normal distribution (Gemma 3n).",
    )
    inner_norm: Norm = Field(
        default_factory=NoNorm, description="Norm on the product, before the down projection (BitNet)."
    )
    adapter: LowRankAdapter | None = Field(
        None, description="Low-rank terms of gate and up, with one A for both, and a B with the rows of both."
    )
    gate_scale: PositiveFloat | None = Field(None, description="Factor on gate(x), before all others (Falcon H1).")

    @property
    def has_down_bias(self) -> bool:
        """Return whether the projection from the hidden width has a bias."""
        return self.bias if self.down_bias is None else self.down_bias


class LinearMlp(Section):
    """W x: one matrix instead of an MLP (Bercovich et al. 2024, Puzzle, section 2)."""

    kind: Literal["linear"] = "linear"
    bias: bool = Field(False, description="Add a bias to the projection.")


class ChannelMixing(Section):
    """RWKV channel mixing: down(act(up(k))) [· sigmoid(receptance(r))], where k and r are the input with two separate
    token shifts (Peng et al. 2023, RWKV, eq. 17).
    """

    kind: Literal["channel-mixing"] = "channel-mixing"
    width: Size = Field(description="Hidden width.")
    activation: Activation
    receptance: bool = Field(True, description="Multiply the output by the receptance gate.")
    weighs: Literal["current", "previous"] = Field(
        "current", description="Vector of the token shift that is scaled by the stored weight w; the other by 1 − w."
    )


DenseMlp = Annotated[PlainMlp | GatedMlp, Field(discriminator="kind")]


class ExpertGroups(Section):
    """Group-limited routing: experts form equal groups, and a token is routed to experts of its top-scoring groups only
    (DeepSeek-V2 2024, section 2.2.2; DeepSeek-V3 2024, section 2.1.2).
    """

    count: Size = Field(description="Number of groups; consecutive experts form a group.")
    chosen: Size = Field(description="Number of groups per token. If it is `count`, there are no groups.")
    by: Literal["max", "top-2"] = Field(
        "max",
        description="Score of a group. max: the best expert's score (DeepSeek-V2). top-2: the sum of the best two "
        "(DeepSeek-V3).",
    )
    others: Literal["excluded", "zero"] = Field(
        "excluded",
        description="Experts of the other groups. zero: they are selected with a score of 0, which leads negative ones "
        "(A.X K2).",
    )


def _without_effect(groups: ExpertGroups | None) -> ExpertGroups | None:
    """Return None for groups that are all chosen, so that equal computations have equal words."""
    return None if groups is not None and groups.chosen == groups.count else groups


class Router(Section):
    """Router of a mixture of experts: one logit per expert, a score function, and top-k selection with k = `per_token`
    (Shazeer et al. 2017; Fedus et al. 2021).
    """

    score: Literal["softmax", "sigmoid", "sqrtsoftplus", "sparsemixer"] = Field(
        default="softmax",
        description="Function from logits to scores. sqrtsoftplus: sqrt(ln(1 + e^x)) (DeepSeek-V4). sparsemixer: "
        "experts are selected one after another; the score of one is the softmax over those not yet selected whose "
        "logit x has (best − x) ≤ 2 · jitter · max(|x|, best) (Liu et al. 2024, GRIN, section 2).",
    )
    jitter: float = Field(default=0.01, ge=0, le=1, description="Width of the band of sparsemixer.")
    over: Literal["all", "chosen"] = Field(
        default="all",
        description="all: all experts are scored; the top scores select the experts and are their weights. chosen: the "
        "top logits select the experts; only the selected logits are scored (gpt-oss).",
    )
    selection: Literal["scores", "tokens"] = Field(
        default="scores",
        description="Selection of a token's experts. tokens: a table has the experts of each token of the vocabulary, "
        "and their scores are the weights (Roller et al. 2021, Hash Layers; DeepSeek-V4).",
    )
    renormalize: bool = Field(
        default=False, description="Divide the weights of the selected experts by their sum (Mixtral)."
    )
    scale: PositiveFloat | None = Field(default=None, description="Factor on the final weights (DeepSeek-V2).")
    bias: bool = Field(default=False, description="Add a bias to the router projection.")
    norm: Norm = Field(default_factory=NoNorm, description="Norm on the router's input (Gemma 4).")
    logit_scale: PositiveFloat | None = Field(default=None, description="Factor on the logits (Gemma 4).")
    expert_scale: bool = Field(
        default=False, description="Multiply the final weights by a learned number per expert (Gemma 4)."
    )
    selection_bias: bool = Field(
        default=False,
        description="Learned bias per expert that is added to the scores for the selection of experts and groups, not "
        "to the weights (Wang et al. 2024; DeepSeek-V3). With `over: chosen`, it is added to the logits.",
    )
    weighs: Literal["output", "input"] = Field(
        default="output",
        description="Vector that the weight of an expert scales: its output, or its input (Llama 4).",
    )
    groups: Annotated[ExpertGroups | None, AfterValidator(_without_effect)] = Field(
        default=None, description="Group-limited routing."
    )


class ExpertBranch(Section):
    """Routed experts as a branch of their own, next to the shared expert: experts and router read the residual stream;
    the result is norm(shared(x)) + norm(experts(norm(stream))), where x is the layer's normed input (Gemma 4).
    """

    norm: Norm = Field(description="Each of the three norms, which have weights of their own.")


class MoeMlp(Section):
    """Mixture of experts: the weighted sum of a token's selected experts (Shazeer et al. 2017), plus an optional shared
    expert (Dai et al. 2024, DeepSeekMoE).
    """

    kind: Literal["moe"] = "moe"
    experts: Annotated[int, Field(gt=0, le=4096)] = Field(description="Number of routed experts.")
    per_token: Size = Field(description="Number of experts per token.")
    identity_experts: Annotated[int, Field(ge=0, le=4096)] = Field(
        0,
        description="Number of further experts that the router may select, whose output is their input (Jin et al. "
        "2024, MoE++).",
    )
    router: Router = Field(default_factory=Router)
    expert: DenseMlp = Field(description="One routed expert.")
    shared: DenseMlp | None = Field(
        None, description="Shared expert, applied to every token; several shared experts are one of their total width."
    )
    shared_scale: PositiveFloat | None = Field(None, description="Factor on the shared expert's output.")
    shared_gate: bool = Field(
        False,
        description="Multiply the shared expert's output by sigmoid(gate(x)), one number per token (Qwen2-MoE).",
    )
    sum_bias: bool = Field(False, description="Add a bias to the sum of the experts (JetMoE).")
    capacity: Size | None = Field(
        None,
        description="Number of tokens of a row and call that an expert computes; it leaves out those after them (Fedus "
        "et al. 2021, Switch Transformers, section 2.2).",
    )
    branch: ExpertBranch | None = Field(
        None, description="Experts in a branch of their own, next to the shared expert."
    )


Mlp = Annotated[PlainMlp | GatedMlp | LinearMlp | ChannelMixing | MoeMlp, Field(discriminator="kind")]
