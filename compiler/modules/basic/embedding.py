"""The embedding: token ids → residual stream."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.modules.basic.features import FurtherTables, TokenDropout
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.modules.basic.norm import make_norm
from archc.compiler.modules.basic.per_layer import PerLayerEmbedding
from archc.compiler.modules.basic.streams import make_first_streams
from archc.compiler.modules.basic.table import Table


class Embedding(nn.Module):
    """norm(scale · projection(tokens) + positions + token types + tables + sinusoids), the terms that the spec has.

    With `norm_of: tokens`, the other terms are added to norm(scale · projection(tokens)).

    If the projection is after the norm, all terms and the norm have the width of the token table (Lan et al. 2020).
    `tokens` is the table of an encoder or decoder that this one shares. `layers` is the number of layers that
    `per_layer` computes a vector for, `streams` the residual streams that the module of this name begins.
    """

    def __init__(
        self,
        word: words.Embedding,
        positions: words.Learned | words.AddedPositions | None,
        dtype: torch.dtype,
        tokens: Table | None = None,
        layers: int = 0,
        streams: words.Streams | None = None,
    ) -> None:
        super().__init__()
        self.scale, self.projected_last = word.scale, word.projection.after == "norm"
        table_width = word.table_width or word.width
        width = table_width if self.projected_last else word.width
        self.tokens = tokens if tokens is not None else Table(word.vocab, table_width, dtype)
        tables = word.tables
        joined = (tables.widths or ()) if tables is not None else ()
        self.projection = (
            Linear(table_width + sum(joined), word.width, word.projection.bias, dtype)
            if word.table_width or joined
            else nn.Identity()
        )
        self.tables = FurtherTables(tables, width, dtype) if tables is not None else None
        self.joins_tables = bool(joined)
        dropout = word.token_dropout
        self.token_dropout = TokenDropout(dropout) if dropout is not None else None
        self.offset = positions.offset if positions else 0
        rows = (positions.size or 0) + positions.offset if positions else 0
        self.positions = Table(rows, width, dtype) if positions else None
        self.token_types = Table(word.token_types, width, dtype) if word.token_types else None
        self.norm, self.norm_of = make_norm(word.norm, width, dtype), word.norm_of
        self.streams = make_first_streams(streams, word.width, dtype)
        per_layer = word.per_layer
        self.per_layer = PerLayerEmbedding(per_layer, layers, word, dtype) if per_layer is not None else None

    def forward(
        self,
        input_ids: Tensor,
        position_ids: Tensor | None,
        token_type_ids: Tensor | None,
        sinusoids: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> Tensor:
        """int64 ids [B, S], None without such a table, and sinusoids [B, S, width] → [B, S, width].

        `lengths` [B] are the numbers of tokens without padding, for token dropout.
        """
        x = self.tokens(input_ids)
        if self.token_dropout is not None:
            assert lengths is not None
            x = self.token_dropout(x, input_ids, lengths)
        if self.tables is not None and self.joins_tables:
            row_N = self.tables()
            x = torch.cat((x, row_N.expand(*x.shape[:-1], row_N.shape[-1])), dim=-1)
        if not self.projected_last:
            x = self.projection(x)
        if self.scale is not None:
            x = x * self.scale
        if self.norm_of == "tokens":
            x = self.norm(x)
        if self.token_types is not None:
            x = x + self.token_types(token_type_ids)
        if self.positions is not None:
            x = x + self.positions(position_ids if not self.offset else position_ids + self.offset)  # type: ignore[operator]
        if self.tables is not None and not self.joins_tables:
            x = x + self.tables()
        if sinusoids is not None:
            x = x + sinusoids
        if self.norm_of == "sum":
            x = self.norm(x)
        return self.projection(x) if self.projected_last else x
