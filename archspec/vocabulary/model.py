"""The sections of a spec that describe computation, put together."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from archc.archspec.vocabulary.base import Size, Word
from archc.archspec.vocabulary.head import Head, NoPooler, Pooler
from archc.archspec.vocabulary.mixer import Attention, CrossAttention
from archc.archspec.vocabulary.mlp import Mlp
from archc.archspec.vocabulary.norm import NoNorm, Norm, PlacedNorm
from archc.archspec.vocabulary.position import Position
from archc.archspec.vocabulary.recurrence import Recurrence


class EmbeddingProjection(Word):
    """The matrix from the width of the token table to that of the residual stream."""

    after: Literal["tokens", "norm"] = Field(
        default="tokens",
        description="tokens: it follows the token table, and what is added has the stream's width (OPT 350m). norm: it "
        "comes last, and positions, token types and the norm have the table's width (Lan et al. 2020, ALBERT).",
    )
    bias: bool = Field(default=False, description="Whether it adds a bias.")


class Embedding(Word):
    """From token ids to the residual stream."""

    vocab: PositiveInt = Field(le=10**8, description="Rows of the token table.")
    width: PositiveInt = Field(le=10**6, description="Width of the residual stream.")
    table_width: Size | None = Field(
        None,
        description="Width of the token table where it is another: a projection follows it, and the head goes back "
        "to it (OPT 350m; Baevski & Auli 2019).",
    )
    projection: EmbeddingProjection = Field(default_factory=EmbeddingProjection)
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
    weights: int | None = Field(
        None,
        ge=0,
        le=10**4,
        description="Number of the layer's set of weights. Layers of one set share it, and are otherwise alike; in the "
        "weight table `{layer}` is the set's number (Dehghani et al. 2019; Lan et al. 2020, ALBERT, section 3.1). "
        "By default a layer's own place: every layer has its own.",
    )
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

    weights: int | None = None  # the set's number, where it is not the layer's own place
    norm: PlacedNorm
    residual: Literal["sequential", "parallel"] = "sequential"
    skip: Skip = Field(default_factory=Skip)
    branch_scale: PositiveFloat | None = None
    position: Position
    attention: Attention | None = None
    recurrence: Recurrence | None = None
    cross_attention: CrossAttention | None = None
    mlp: Mlp | None = None

    @property
    def computation(self) -> Layer:
        """The layer without the number of its weights: what it computes, given any."""
        return self if self.weights is None else self.model_copy(update={"weights": None})


class Prefix(Word):
    """A prompt whose tokens see each other both ways, up to a token that begins what is written (Raffel et al. 2020,
    prefix LM; Du et al. 2022, GLM)."""

    end: int = Field(ge=0, le=10**8, description="Id of the token that begins the written part; it is part of it.")
    blanks: tuple[int, ...] = Field(
        min_length=1, description="Ids of the token that stands where the written part belongs; the first one present."
    )


_MLP = "The second branch, or none."


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
    mlp: Mlp | None = Field(description=_MLP)
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
    attention: Attention | None = Field(description="Softmax attention, or none where `recurrence` mixes the tokens.")
    recurrence: Recurrence | None = Field(None, description="A recurrent mixer in attention's place.")
    cross_attention: CrossAttention | None = Field(
        None, description="Attention to the encoder's output, between the other two branches of a decoder's layer."
    )
    mlp: Mlp | None = Field(description=_MLP)
    final_norm: Norm
    encoder: Encoder | None = Field(None, description="The stack that reads the source.")
    head: Head
    pooler: Pooler = Field(default_factory=NoPooler)
    prefix: Prefix | None = Field(None, description="A prompt that is read both ways.")


# Sections whose values may differ from layer to layer; elsewhere the name `layer` means nothing.
PER_LAYER = (
    "layer.weights",
    "layer.norm",
    "layer.residual",
    "layer.skip",
    "layer.branch_scale",
    "position",
    "attention",
    "recurrence",
    "cross_attention",
    "mlp",
)


def differs_by_layer(path: str) -> bool:
    """Whether the section at a path, of a decoder or of an `encoder`, may differ from layer to layer."""
    return path.removeprefix("encoder.") in PER_LAYER
