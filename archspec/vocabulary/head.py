"""Heads and poolers: the outputs that a model computes from its last hidden states."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PositiveFloat

from archc.archspec.vocabulary.base import Section, Size
from archc.archspec.vocabulary.mlp import Activation, canonical_activation
from archc.archspec.vocabulary.norm import NoNorm, Norm


class LmHead(Section):
    """Next-token logits: a linear projection to the vocabulary."""

    kind: Literal["lm"] = "lm"
    tie: bool = Field(False, description="Use the token embedding as the projection weight (Press & Wolf 2017).")
    bias: bool = Field(False, description="Add a bias to the projection.")
    scale: PositiveFloat | None = Field(None, description="Factor on the logits (Command R).")
    softcap: PositiveFloat | None = Field(None, description="Logit softcapping: cap · tanh(logit / cap) (Gemma 2).")
    vocab: Size | None = Field(
        None,
        description="Rows of the projection: the first tokens of the vocabulary. The others are inputs alone and have "
        "a logit of −8192, a probability of zero (Llama 3.2 Vision). Default: the rows of the token table.",
    )


class MlmHead(Section):
    """Masked-language-model logits: dense layer, activation, norm, projection (Devlin et al. 2018); of the next token
    in a decoder.
    """

    kind: Literal["mlm"] = "mlm"
    activation: Activation
    norm: Norm
    width: Size | None = Field(
        None, description="Width of the dense layer's output (RemBERT). Default: that of the token table."
    )
    tie: bool = Field(True, description="Use the token embedding as the projection weight.")
    bias: bool = Field(True, description="Add a bias to the projection.")
    dense_bias: bool = Field(True, description="Add a bias to the dense layer.")
    inner_width: Size | None = Field(
        None, description="Width of a further dense layer with the activation, in front of the other (UltraBERT)."
    )


DenseActivation = Annotated[
    Literal["none", "tanh", "relu", "gelu", "gelu_tanh", "silu"],
    BeforeValidator(canonical_activation),
    Field("none", description="Activation of the output; gelu is exact (erf), gelu_tanh its tanh approximation."),
]


class DenseLayer(Section):
    """act(dense(x))."""

    width: Size = Field(description="Width of the output.")
    activation: DenseActivation = "none"
    bias: bool = Field(True, description="Add a bias to the projection.")


class ClassesHead(Section):
    """Scores of classes: norm(act(dense(x))), then a projection; dense layer and norm are optional (Devlin et al. 2018,
    section 4; Liu et al. 2019).
    """

    kind: Literal["classes"] = "classes"
    labels: Size = Field(description="Number of classes; 1 is a score, as of a reward model or a reranker.")
    per: Literal["sequence", "token", "span"] = Field(
        "sequence",
        description="sequence: scores of the pooled vector. token: of each token. span: two of each token, that a span "
        "begins there, and that it ends there (Rajpurkar et al. 2016, SQuAD).",
    )
    pool: Literal["cls", "last", "mean", "max", "weighted", "eos"] | None = Field(
        None, description="Pooling of a sequence, as the kinds of `pooler`; required for `per: sequence`."
    )
    order: Literal["before", "after"] = Field(
        "before", description="Pooling before the dense layer, or after it and the norm (EuroBERT, late pooling)."
    )
    end_token: int | None = Field(None, ge=0, le=10**8, description="Id of the token of `pool: eos`.")
    dense: DenseLayer | None = Field(None, description="Dense layer before the projection.")
    norm: Norm = Field(default_factory=NoNorm, description="Norm after the dense layer.")
    bias: bool = Field(True, description="Add a bias to the projection.")


class VectorHead(Section):
    """Vectors of tokens: a projection of the hidden states, which it replaces as output and as what a pooler reads
    (Khattab & Zaharia 2020, ColBERT, section 3.2).
    """

    kind: Literal["vectors"] = "vectors"
    width: Size = Field(description="Width of the vectors.")
    bias: bool = Field(False, description="Add a bias to the projection.")


class NoHead(Section):
    """No head: the outputs are the hidden states."""

    kind: Literal["none"] = "none"


Head = Annotated[LmHead | MlmHead | ClassesHead | VectorHead | NoHead, Field(discriminator="kind")]


class FirstTokenPooler(Section):
    """tanh(dense(hidden state of the first token)) (Devlin et al. 2018)."""

    kind: Literal["first-token"] = "first-token"


class DenseProjection(DenseLayer):
    """act(dense(pooled vector)), as after the pooling of distilled sentence encoders (Reimers & Gurevych 2020)."""

    then: DenseLayer | None = Field(None, description="A second projection, of the first one's output.")


class Pooling(Section):
    """Pooling over the tokens of a row, without padding (Reimers & Gurevych 2019)."""

    kind: str
    dense: DenseProjection | None = Field(None, description="Projection of the pooled vector, before `normalize`.")
    normalize: bool = Field(False, description="Divide the pooled vector by its Euclidean norm.")


class MeanPooler(Pooling):
    """The mean of the hidden states of all tokens."""

    kind: Literal["mean"] = "mean"


class MaxPooler(Pooling):
    """The largest value of each channel over all tokens."""

    kind: Literal["max"] = "max"


class ClsPooler(Pooling):
    """The hidden state of the first token, without a dense layer."""

    kind: Literal["cls"] = "cls"


class LastPooler(Pooling):
    """The hidden state of the last token, which is the only one that attends to the whole text if attention is causal
    (Wang et al. 2023, E5-Mistral).
    """

    kind: Literal["last"] = "last"


class WeightedPooler(Pooling):
    """Position-weighted mean: Σ i · h(i) / Σ i over the tokens i = 1, 2, … (Muennighoff 2022, SGPT, section 3.1)."""

    kind: Literal["weighted"] = "weighted"


class EosPooler(Pooling):
    """The hidden state of the last or first occurrence of a token (Lewis et al. 2019, BART, section 3.1)."""

    kind: Literal["eos"] = "eos"
    end_token: int = Field(ge=0, le=10**8, description="Id of the token.")
    occurrence: Literal["last", "first"] = Field(
        "last", description="If the token does not occur, this is the last or the first token of the row."
    )


class HighestPooler(Pooling):
    """The hidden state of the token with the highest id, the first one of several: the end token of a vocabulary whose
    last entry it is (Radford et al. 2021, CLIP, section 2.4).
    """

    kind: Literal["highest"] = "highest"


class NoPooler(Section):
    """No pooled output."""

    kind: Literal["none"] = "none"


Pooler = Annotated[
    FirstTokenPooler
    | MeanPooler
    | MaxPooler
    | ClsPooler
    | LastPooler
    | WeightedPooler
    | EosPooler
    | HighestPooler
    | NoPooler,
    Field(discriminator="kind"),
]
