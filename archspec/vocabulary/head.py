"""Heads and poolers: the outputs that a model computes from its last hidden states."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat

from archc.archspec.vocabulary.base import Section, Size
from archc.archspec.vocabulary.mlp import Activation
from archc.archspec.vocabulary.norm import Norm


class LmHead(Section):
    """Next-token logits: a linear projection to the vocabulary."""

    kind: Literal["lm"] = "lm"
    tie: bool = Field(False, description="Use the token embedding as the projection weight (Press & Wolf 2017).")
    bias: bool = Field(False, description="Add a bias to the projection.")
    scale: PositiveFloat | None = Field(None, description="Factor on the logits (Command R).")
    softcap: PositiveFloat | None = Field(None, description="Logit softcapping: cap · tanh(logit / cap) (Gemma 2).")


class MlmHead(Section):
    """Masked-language-model logits: dense layer, activation, norm, projection (Devlin et al. 2018)."""

    kind: Literal["mlm"] = "mlm"
    activation: Activation
    norm: Norm
    tie: bool = Field(True, description="Use the token embedding as the projection weight.")
    bias: bool = Field(True, description="Add a bias to the projection.")
    dense_bias: bool = Field(True, description="Add a bias to the dense layer.")


class NoHead(Section):
    """No head: the outputs are the hidden states."""

    kind: Literal["none"] = "none"


Head = Annotated[LmHead | MlmHead | NoHead, Field(discriminator="kind")]


class FirstTokenPooler(Section):
    """tanh(dense(hidden state of the first token)) (Devlin et al. 2018)."""

    kind: Literal["first-token"] = "first-token"


class DenseProjection(Section):
    """act(dense(pooled vector)), as after the pooling of distilled sentence encoders (Reimers & Gurevych 2020)."""

    width: Size = Field(description="Width of the output.")
    activation: Literal["none", "tanh", "relu", "gelu", "silu"] = Field(
        "none", description="Activation of the output; gelu is exact (erf)."
    )
    bias: bool = Field(True, description="Add a bias to the projection.")


class Pooling(Section):
    """Pooling over the tokens of a row, without padding (Reimers & Gurevych 2019)."""

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


class NoPooler(Section):
    """No pooled output."""

    kind: Literal["none"] = "none"


Pooler = Annotated[FirstTokenPooler | MeanPooler | MaxPooler | ClsPooler | NoPooler, Field(discriminator="kind")]
