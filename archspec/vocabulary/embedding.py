"""The embedding: tables of tokens, positions and token types, the norm of their sum, and what scales it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from archc.archspec.vocabulary.base import Section, Size
from archc.archspec.vocabulary.norm import NoNorm, Norm


class EmbeddingProjection(Section):
    """The projection from the width of the token table to the width of the residual stream."""

    after: Literal["tokens", "norm"] = Field(
        default="tokens",
        description="tokens: directly after the token table; positions and token types have the stream's width (OPT "
        "350m). norm: last; positions, token types and the norm have the table's width (Lan et al. 2020, ALBERT).",
    )
    bias: bool = Field(default=False, description="Add a bias to the projection.")


class PerLayerEmbedding(Section):
    """A vector for each layer from the token and its embedding x (Gemma 3n, per-layer embeddings):
    sum_scale · (norm(projection_scale · W x) + scale · table), one row of the table and of W x cut into all layers.
    """

    vocab: Size | None = Field(None, description="Rows of the table; other tokens have the first one. none: no table.")
    width: Size = Field(description="Width of the vector of one layer.")
    scale: PositiveFloat | None = Field(None, description="Factor on the rows of the table.")
    projection_scale: PositiveFloat | None = Field(None, description="Factor on the projection of the embedding.")
    norm: Norm = Field(description="Norm on the projection, for each layer separately with one weight.")
    sum_scale: PositiveFloat | None = Field(None, description="Factor on the sum.")


class AddedPositions(Section):
    """A table of learned absolute position embeddings, added to the token embedding (MPNet; DeBERTa)."""

    size: Size = Field(description="Number of positions in the table.")
    offset: int = Field(0, ge=0, le=2**16, description="Unused rows at the start of the table (RoBERTa).")


class FurtherTables(Section):
    """Tables of features that a plain text has no values for, such as a task (Sun et al. 2020, ERNIE 2.0), a cell of a
    table (Herzig et al. 2020, TAPAS) or a place on a page (Xu et al. 2020, LayoutLM): every token has the same row of
    each.
    """

    rows: tuple[Size, ...] = Field(min_length=1, description="Number of rows of each table.")
    row: int = Field(0, ge=0, le=2**31 - 1, description="Index of the row that every token has.")
    times: tuple[Size, ...] | None = Field(
        None, description="Number of times that the row of each table is added. none: once."
    )
    widths: tuple[Size, ...] | None = Field(
        None,
        description="Widths of tables whose rows are not added: they follow the token embedding, and "
        "`embedding.projection` reads both (Su et al. 2022, RoCBert, section 3.2).",
    )


class TokenDropout(Section):
    """Mask tokens as zeros, and all embeddings times keep / (1 − their share of the text), as dropout scales what it
    keeps (Rives et al. 2021; ESM).
    """

    token: int = Field(ge=0, le=10**8, description="Id of the mask token.")
    keep: float = Field(gt=0.0, le=1.0, description="Share of unmasked tokens in training.")


class Embedding(Section):
    """From token ids to the residual stream."""

    vocab: PositiveInt = Field(le=10**8, description="Vocabulary size: rows of the token table.")
    width: PositiveInt = Field(le=10**6, description="Width of the residual stream.")
    table_width: Size | None = Field(
        None,
        description="Width of the token table if it differs from `width`: the embedding and the head then have a "
        "projection between the two (OPT 350m; Baevski & Auli 2019).",
    )
    projection: EmbeddingProjection = Field(default_factory=EmbeddingProjection)
    scale: PositiveFloat | None = Field(None, description="Factor on the token embedding.")
    token_types: Size | None = Field(None, description="Rows of a token-type table, which is added.")
    norm: Norm = Field(default_factory=NoNorm, description="Norm on the sum of the embeddings, or on a part of it.")
    norm_of: Literal["sum", "tokens"] = Field(
        "sum",
        description="sum: all embeddings. tokens: the token embedding alone, to which the others are added afterwards "
        "(Blenderbot Small).",
    )
    positions: AddedPositions | None = Field(
        None, description="Learned absolute positions in addition to `position`, which acts in attention."
    )
    tables: FurtherTables | None = Field(None, description="Further tables, of which all tokens have the same rows.")
    token_dropout: TokenDropout | None = Field(None, description="Scale of a text by its number of masked tokens.")
    per_layer: PerLayerEmbedding | None = Field(
        None, description="A vector for each layer, which its `layer.embedding_branch` reads."
    )
