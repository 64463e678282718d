"""The sections of a spec that describe computation, put together."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from archspec.vocabulary.base import Size, Word
from archspec.vocabulary.head import Head, NoPooler, Pooler
from archspec.vocabulary.mixer import Attention, CrossAttention
from archspec.vocabulary.mlp import Mlp
from archspec.vocabulary.norm import NoNorm, Norm, PlacedNorm
from archspec.vocabulary.position import Position


class Embedding(Word):
    """From token ids to the residual stream."""

    vocab: PositiveInt = Field(le=10**8, description="Rows of the token table.")
    width: PositiveInt = Field(le=10**6, description="Width of the residual stream.")
    table_width: Size | None = Field(
        None,
        description="Width of the token table where it is another: a projection follows it, and one precedes the "
        "head (OPT 350m; Baevski & Auli 2019).",
    )
    scale: PositiveFloat | None = Field(None, description="Factor on the token embedding.")
    token_types: Size | None = Field(None, description="Rows of a token-type table that is added.")
    norm: Norm = Field(default_factory=NoNorm, description="Norm on the embedding sum.")


class Skip(Word):
    """What a residual connection carries past a branch."""

    source: Literal["input", "norm"] = Field(
        default="input", description="input: the residual stream. norm: what the branch's norm gave of it (ChatGLM-6B)."
    )
    scale: PositiveFloat | None = Field(default=None, description="Factor on what is carried (ChatGLM-6B).")


class LayerShape(Word):
    """How many layers there are, and how each is arranged around its branches."""

    count: PositiveInt = Field(le=10**4, description="Number of layers.")
    norm: PlacedNorm
    residual: Literal["sequential", "parallel"] = Field(
        "sequential", description="parallel: mixer and MLP read the same input and are added together."
    )
    skip: Skip = Field(default_factory=Skip, description="What is carried past each branch.")
    branch_scale: PositiveFloat | None = Field(None, description="Factor on each branch's output (Granite, MiniCPM).")


class Layer(Word):
    """One layer, bound: everything that its computation depends on, and nothing else.

    Two equal Layers compute the same function of their weights, so one trace serves both.
    """

    norm: PlacedNorm
    residual: Literal["sequential", "parallel"] = "sequential"
    skip: Skip = Field(default_factory=Skip)
    branch_scale: PositiveFloat | None = None
    position: Position
    attention: Attention
    cross_attention: CrossAttention | None = None
    mlp: Mlp


class Prefix(Word):
    """A prompt whose tokens see each other both ways, up to a token that begins what is written (Raffel et al. 2020,
    prefix LM; Du et al. 2022, GLM)."""

    end: int = Field(ge=0, le=10**8, description="Id of the token that begins the written part; it is part of it.")
    blanks: tuple[int, ...] = Field(
        min_length=1, description="Ids of the token that stands where the written part belongs; the first one present."
    )


class Encoder(Word):
    """The stack that reads the source (Vaswani et al. 2017, section 3.1).

    Every key that is left out, at any depth, is that of the section of the same name at the top, the decoder's.
    """

    tie: bool = Field(True, description="The encoder's token table is the decoder's.")
    context: Size = Field(description="Longest source that the model is meant for, in tokens.")
    embedding: Embedding
    position: Position
    layer: LayerShape
    attention: Attention
    mlp: Mlp
    final_norm: Norm


class Model(Word):
    """Every section of one architecture at one layer index."""

    topology: Literal["decoder", "encoder", "encoder-decoder"] = Field(
        "decoder",
        description="decoder: causal, with a cache. encoder: bidirectional, without. encoder-decoder: a decoder whose "
        "layers also attend to what an encoder made of a source; the sections but `encoder` are the decoder's.",
    )
    context: Size = Field(description="Longest sequence that the model is meant for, in tokens.")
    embedding: Embedding
    position: Position
    layer: LayerShape
    attention: Attention
    cross_attention: CrossAttention | None = Field(
        None, description="Attention to the encoder's output, between the other two branches of a decoder's layer."
    )
    mlp: Mlp
    final_norm: Norm
    encoder: Encoder | None = Field(None, description="The stack that reads the source.")
    head: Head
    pooler: Pooler = Field(default_factory=NoPooler)
    prefix: Prefix | None = Field(None, description="A prompt that is read both ways.")


# Sections whose values may differ from layer to layer; elsewhere the name `layer` means nothing.
PER_LAYER = (
    "layer.norm", "layer.residual", "layer.skip", "layer.branch_scale", "position", "attention", "cross_attention",
    "mlp",
)  # fmt: skip


def differs_by_layer(path: str) -> bool:
    """Whether the section at a path, of a decoder or of an `encoder`, may differ from layer to layer."""
    return path.removeprefix("encoder.") in PER_LAYER
