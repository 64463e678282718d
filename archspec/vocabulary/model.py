"""The sections of a spec that describe computation, put together."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from archspec.vocabulary.base import Size, Word
from archspec.vocabulary.head import Head, NoPooler, Pooler
from archspec.vocabulary.mixer import Attention
from archspec.vocabulary.mlp import Mlp
from archspec.vocabulary.norm import NoNorm, Norm, PlacedNorm
from archspec.vocabulary.position import Position


class Embedding(Word):
    """From token ids to the residual stream."""

    vocab: PositiveInt = Field(le=10**8, description="Rows of the token table.")
    width: PositiveInt = Field(le=10**6, description="Width of the residual stream.")
    scale: PositiveFloat | None = Field(None, description="Factor on the token embedding.")
    token_types: Size | None = Field(None, description="Rows of a token-type table that is added.")
    norm: Norm = Field(default_factory=NoNorm, description="Norm on the embedding sum.")


class LayerShape(Word):
    """How many layers there are, and how each is arranged around its branches."""

    count: PositiveInt = Field(le=10**4, description="Number of layers.")
    norm: PlacedNorm
    residual: Literal["sequential", "parallel"] = Field(
        "sequential", description="parallel: mixer and MLP read the same input and are added together."
    )


class Layer(Word):
    """One layer, bound: everything that its computation depends on, and nothing else.

    Two equal Layers compute the same function of their weights, so one trace serves both.
    """

    norm: PlacedNorm
    residual: Literal["sequential", "parallel"]
    position: Position
    attention: Attention
    mlp: Mlp


class Model(Word):
    """Every section of one architecture at one layer index."""

    topology: Literal["decoder", "encoder"] = Field(
        "decoder", description="decoder: causal, with a cache. encoder: bidirectional, without."
    )
    context: Size = Field(description="Longest sequence that the model is meant for, in tokens.")
    embedding: Embedding
    position: Position
    layer: LayerShape
    attention: Attention
    mlp: Mlp
    final_norm: Norm
    head: Head
    pooler: Pooler = Field(default_factory=NoPooler)


# Sections whose values may differ from layer to layer; elsewhere the name `layer` means nothing.
PER_LAYER = ("layer.norm", "layer.residual", "position", "attention", "mlp")
