"""The top-level sections of a spec, and the bound layer that the compiler reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from archc.archspec.vocabulary.base import Section, Size
from archc.archspec.vocabulary.embedding import Embedding
from archc.archspec.vocabulary.front import FrontBlock
from archc.archspec.vocabulary.head import DenseActivation, Head, NoPooler, Pooler
from archc.archspec.vocabulary.indexer import EarlierIndexer
from archc.archspec.vocabulary.mixer import Attention, CrossAttention, LatentAttention
from archc.archspec.vocabulary.mlp import Activation, Mlp, MoeMlp, PlainMlp
from archc.archspec.vocabulary.ngram_memory import NgramMemory
from archc.archspec.vocabulary.norm import Norm, PlacedNorm
from archc.archspec.vocabulary.position import Position
from archc.archspec.vocabulary.recurrence import Recurrence
from archc.archspec.vocabulary.streams import Streams
from archc.archspec.vocabulary.text import Text


class FourierMixing(Section):
    """The real part of the discrete Fourier transform over the tokens of a text and over the channels, without weights
    (Lee-Thorp et al. 2022, FNet, section 3.2).
    """

    kind: Literal["fourier"] = "fourier"


class LinearMixing(Section):
    """W x of each token: one matrix instead of attention (Bercovich et al. 2024, Puzzle, section 2)."""

    kind: Literal["linear"] = "linear"
    bias: bool = Field(False, description="Add a bias to the projection.")


Mixing = Annotated[FourierMixing | LinearMixing, Field(discriminator="kind")]


class Skip(Section):
    """The skip connection of a residual branch."""

    source: Literal["input", "norm"] = Field(
        default="input",
        description="input: the residual stream. norm: the output of the branch's input norm (ChatGLM-6B).",
    )
    scale: PositiveFloat | None = Field(default=None, description="Factor on the skip connection (ChatGLM-6B).")
    learned: bool = Field(default=False, description="Multiply each skip connection by a learned vector (Doge).")
    mlp_scale: PositiveFloat | None = Field(
        default=None, description="Factor on the skip connection of the MLP (MiniMax). Default: `scale`."
    )


class EmbeddingBranch(Section):
    """A last branch of a layer, x + norm(W₂ (activation(W₁ x) ⊙ e)), where e is the layer's vector of
    `embedding.per_layer` (Gemma 3n).
    """

    activation: Activation
    norm: Norm = Field(description="Norm on the branch's output.")


class LayerConvolution(Section):
    """A convolution next to a layer: norm(layer(x) + activation(convolution(x))), with zeros beyond the text (He et al.
    2021, DeBERTa-v2, nGiE).
    """

    kernel: int = Field(ge=1, le=2**10, description="Kernel size, an odd number: the token and those around it.")
    activation: DenseActivation = "none"
    norm: Norm = Field(description="Norm on the sum.")


class Laurel(Section):
    """Learned augmented residual layer (LAuReL, Menghani et al. 2024): scale · (x + mixer(u) + u + norm(W₂ W₁ u)) for
    the mixer's input u, instead of x + mixer(u) (Gemma 3n).
    """

    rank: Size = Field(description="Rows of W₁.")
    norm: Norm = Field(description="Norm on W₂ W₁ u.")
    scale: PositiveFloat = Field(1.0, description="Factor on the sum.")


class LayerLayout(Section):
    """Number of layers, and the norms and residual connections of each."""

    count: PositiveInt = Field(le=10**4, description="Number of layers.")
    weights: int | None = Field(
        None,
        ge=0,
        le=10**4,
        description="Index of the layer's weight set. Layers with the same index share their weights and must be "
        "identical otherwise; `{layer}` in the weight table is this index (Dehghani et al. 2019; Lan et al. 2020, "
        "ALBERT, section 3.1). Default: the index of the layer, no sharing.",
    )
    norm: PlacedNorm
    mixers: Literal["one", "parallel"] = Field(
        "one",
        description="one: attention, or a recurrence. parallel: both; they have the same input and their outputs are "
        "added (Falcon H1).",
    )
    front: FrontBlock | None = Field(None, description="Attention and MLP in front of the recurrence.")
    residual: Literal["sequential", "parallel"] = Field(
        "sequential", description="parallel: mixer and MLP have the same input and their outputs are added."
    )
    skip: Skip = Field(default_factory=Skip, description="Skip connection of each branch.")
    branch_scale: PositiveFloat | None = Field(None, description="Factor on each branch's output (Granite, MiniCPM).")
    mlp_branch_scale: PositiveFloat | None = Field(
        None, description="Factor on the MLP's output (MiniMax). Default: `branch_scale`."
    )
    embedding_branch: EmbeddingBranch | None = Field(None, description="Branch that reads `embedding.per_layer`.")
    output_scale: bool = Field(False, description="Multiply the layer's output by a learned number (Gemma 4).")
    convolution: LayerConvolution | None = Field(None, description="Convolution next to the layer.")
    adapter: PlainMlp | None = Field(
        None,
        description="A bottleneck after the MLP of a post-norm layer: norm(h + adapter(h)), h = norm(x + mlp(x)), with "
        "one norm (Pfeiffer et al. 2022, X-MOD, section 3).",
    )
    adds_shortcut: bool = Field(
        False, description="Add the output of the `shortcut` of the layer before to the layer's output."
    )
    laurel: Laurel | None = Field(None, description="Learned augmented residual of the mixer.")
    streams: Streams | None = Field(None, description="Several residual streams; all layers have the same.")
    ngram_memory: NgramMemory | None = Field(None, description="Tables of n-grams, read before the mixer.")


class Layer(Section):
    """One bound layer: everything that its computation depends on, and nothing else.

    Equal layers compute the same function of their weights, so that the compiler traces each distinct layer once.
    """

    weights: int | None = None  # index of the weight set; None if it is the layer's own index
    norm: PlacedNorm
    mixers: Literal["one", "parallel"] = "one"
    front: FrontBlock | None = None
    residual: Literal["sequential", "parallel"] = "sequential"
    skip: Skip = Field(default_factory=Skip)
    branch_scale: PositiveFloat | None = None
    mlp_branch_scale: PositiveFloat | None = None
    embedding_branch: EmbeddingBranch | None = None
    output_scale: bool = False
    convolution: LayerConvolution | None = None
    adapter: PlainMlp | None = None
    adds_shortcut: bool = False
    laurel: Laurel | None = None
    streams: Streams | None = None
    ngram_memory: NgramMemory | None = None
    position: Position
    attention: Attention | None = None
    recurrence: Recurrence | None = None
    mixing: Mixing | None = None
    cross_attention: CrossAttention | None = None
    mlp: Mlp | None = None
    shortcut: MoeMlp | None = None

    @property
    def stream_count(self) -> int:
        """Return the number of residual streams."""
        return self.streams.count if self.streams is not None else 1

    @property
    def computation(self) -> Layer:
        """Return the layer without the indices of its weight sets."""
        changes: dict[str, object] = {"weights": None} if self.weights is not None else {}
        if self.front is not None and self.front.weights is not None:
            changes["front"] = FrontBlock(weights=None)
        return self.model_copy(update=changes) if changes else self


def weight_sets(layers: Sequence[Layer]) -> tuple[int, ...]:
    """Return the index of each layer's weight set: its `weights`, or the index of the layer."""
    return tuple(index if layer.weights is None else layer.weights for index, layer in enumerate(layers))


def front_sets(layers: Sequence[Layer]) -> tuple[int, ...]:
    """Return the index of the weight set of each layer's front block, or the index of the layer."""
    fronts = [layer.front for layer in layers]
    return tuple(
        index if front is None or front.weights is None else front.weights for index, front in enumerate(fronts)
    )


def kv_sources(layers: Sequence[Layer]) -> dict[int, int | None]:
    """Return the layer whose keys and values, or latents, a layer reads, by index; None if no layer agrees."""
    sources: dict[int, int | None] = {}
    latest: dict[object, int] = {}
    latents: dict[int, object] = {}
    for index, layer in enumerate(layers):
        attention = layer.attention
        if isinstance(attention, LatentAttention):
            stored = (attention.window, attention.latent, attention.rope_dim, layer.position)
            if attention.latents_of is None:
                latents[index] = stored
            else:
                agrees = latents.get(attention.latents_of) == stored
                sources[index] = attention.latents_of if agrees else None
            continue
        if attention is None:
            continue
        sizes = (attention.kv_heads, attention.head_dim, attention.value_width)
        # Keys that are their own values have no cache of values to read.
        rotated = attention.values == "rotated-keys"
        kind = (attention.window, attention.chunked, sizes, rotated, layer.position)
        if attention.keys_values == "own":
            latest[kind] = index
        else:
            sources[index] = latest.get(kind)
    return sources


def indexer_sources(layers: Sequence[Layer]) -> dict[int, int | None]:
    """Return the layer whose selection of keys a layer reads, by index, for layers that read one; None if none."""
    sources: dict[int, int | None] = {}
    latest = None
    for index, layer in enumerate(layers):
        indexer = layer.attention.indexer if layer.attention is not None else None
        if isinstance(indexer, EarlierIndexer):
            sources[index] = latest
        elif indexer is not None:
            latest = index
    return sources


class Prefix(Section):
    """Prefix LM: the prompt has bidirectional attention, up to the token that begins the generated text (Raffel et al.
    2020; Du et al. 2022, GLM).
    """

    end: int = Field(ge=0, le=10**8, description="Id of the first token of the generated text.")
    blanks: tuple[int, ...] = Field(
        min_length=1,
        description="Ids of mask tokens, by preference: the generated text has the position of the first one found.",
    )


_MLP_DESCRIPTION = "The second branch. none: the layer has the mixer only."


class Encoder(Section):
    """The encoder stack (Vaswani et al. 2017, section 3.1).

    Every key, at any depth, defaults to the same key of the top-level section, the decoder's.
    """

    tie: bool = Field(True, description="Use the decoder's token table.")
    context: Size = Field(description="Maximum source length, in tokens.")
    embedding: Embedding
    position: Position
    layer: LayerLayout
    attention: Attention
    mlp: Mlp | None = Field(description=_MLP_DESCRIPTION)
    final_norm: Norm


class Model(Section):
    """All sections of an architecture."""

    topology: Literal["decoder", "encoder", "encoder-decoder"] = Field(
        "decoder",
        description="decoder: causal, with a KV cache. encoder: bidirectional, without a cache. encoder-decoder: a "
        "decoder with cross-attention to an encoder; all sections except `encoder` are the decoder's.",
    )
    direction: Literal["past", "both"] | None = Field(
        None,
        description="Keys that a query attends to: past, up to its own position (causal); both, all of its row. "
        "Default: both in an encoder, otherwise past.",
    )
    context: Size = Field(description="Maximum sequence length, in tokens.")
    embedding: Embedding
    position: Position
    layer: LayerLayout
    attention: Attention | None = Field(
        description="Softmax attention. none: the layer has a `recurrence` or `mixing`, or an MLP alone."
    )
    recurrence: Recurrence | None = Field(
        None, description="Recurrent token mixer, instead of attention or next to it."
    )
    mixing: Mixing | None = Field(None, description="Mixer without a state, instead of attention.")
    cross_attention: CrossAttention | None = Field(
        None, description="Attention to the encoder's output, between the mixer and the MLP of a decoder layer."
    )
    mlp: Mlp | None = Field(description=_MLP_DESCRIPTION)
    shortcut: MoeMlp | None = Field(
        None,
        description="Shortcut-connected experts: they have the input of the MLP, and their output is added to that of "
        "the next layer, which has `layer.adds_shortcut` (Cai et al. 2024; LongCat-Flash).",
    )
    final_norm: Norm
    encoder: Encoder | None = Field(None, description="The encoder stack.")
    head: Head
    pooler: Pooler = Field(default_factory=NoPooler)
    prefix: Prefix | None = Field(None, description="Prefix LM: bidirectional attention over the prompt.")
    text: Text = Field(default_factory=Text)


# Sections whose values may differ from layer to layer; elsewhere the name `layer` is not defined.
PER_LAYER = (
    "layer.weights",
    "layer.norm",
    "layer.mixers",
    "layer.front",
    "layer.residual",
    "layer.skip",
    "layer.branch_scale",
    "layer.mlp_branch_scale",
    "layer.embedding_branch",
    "layer.output_scale",
    "layer.convolution",
    "layer.adapter",
    "layer.adds_shortcut",
    "layer.laurel",
    "layer.streams",
    "layer.ngram_memory",
    "position",
    "attention",
    "recurrence",
    "mixing",
    "cross_attention",
    "mlp",
    "shortcut",
)


def differs_by_layer(path: str) -> bool:
    """Return whether the section at `path`, of the model or of its encoder, may differ from layer to layer."""
    return path.removeprefix("encoder.") in PER_LAYER
