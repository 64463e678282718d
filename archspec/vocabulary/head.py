"""What a model makes of its last hidden states."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat

from archc.archspec.vocabulary.base import Word
from archc.archspec.vocabulary.mlp import Activation
from archc.archspec.vocabulary.norm import Norm


class LmHead(Word):
    """Next-token logits: one projection to the vocabulary."""

    kind: Literal["lm"] = "lm"
    tie: bool = Field(False, description="The projection is the token embedding (Press & Wolf 2017).")
    bias: bool = Field(False, description="Whether the projection adds a bias.")
    scale: PositiveFloat | None = Field(None, description="Factor on the logits (Command R).")
    softcap: PositiveFloat | None = Field(None, description="Logits become cap · tanh(logit / cap) (Gemma 2).")


class MlmHead(Word):
    """Masked-language-model logits: dense, activation, norm, projection to the vocabulary (Devlin et al. 2018)."""

    kind: Literal["mlm"] = "mlm"
    activation: Activation
    norm: Norm
    tie: bool = Field(True, description="The projection is the token embedding.")
    bias: bool = Field(True, description="Whether the projection adds a bias.")
    dense_bias: bool = Field(True, description="Whether the dense layer before it adds one.")


class NoHead(Word):
    """Hidden states only."""

    kind: Literal["none"] = "none"


Head = Annotated[LmHead | MlmHead | NoHead, Field(discriminator="kind")]


class FirstTokenPooler(Word):
    """tanh(dense(hidden state of the first token)) (Devlin et al. 2018)."""

    kind: Literal["first-token"] = "first-token"


class NoPooler(Word):
    """No pooled output."""

    kind: Literal["none"] = "none"


Pooler = Annotated[FirstTokenPooler | NoPooler, Field(discriminator="kind")]
