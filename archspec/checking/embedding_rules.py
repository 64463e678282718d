"""Rules for the embedding of a bound model: tables, projections and factors that contradict each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from archc.archspec.checking.fault import Fault
from archc.archspec.checking.norm_rules import norm_faults
from archc.archspec.vocabulary import Embedding, EmbeddingProjection, FurtherTables, Learned, NoNorm, Sinusoidal


def embedding_faults(model: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield the faults of the embedding of a bound model or encoder."""
    embedding: Embedding = model["embedding"]
    yield from norm_faults(embedding.norm, "embedding.norm")
    if embedding.norm_of == "tokens" and isinstance(embedding.norm, NoNorm):
        yield "embedding.norm_of", "the embedding has no norm", "add `embedding.norm`, or remove the key"
    added = (embedding.token_types, embedding.positions, embedding.tables)
    adds_positions = isinstance(model["layers"][0].position, Learned | Sinusoidal)
    if embedding.norm_of == "tokens" and not adds_positions and not any(part is not None for part in added):
        yield "embedding.norm_of", "nothing is added to the token embedding", "remove the key"
    joins = embedding.tables is not None and embedding.tables.widths is not None
    if embedding.table_width is None and not joins and embedding.projection != EmbeddingProjection():
        message = "a token table of the residual stream's width has no projection"
        yield "embedding.projection", message, "add `table_width`, or remove the key"
    if joins and embedding.projection.after != "tokens":
        message = "the projection reads the rows of further tables, which stand next to the token's"
        yield "embedding.projection.after", message, "use tokens"
    if embedding.tables is not None:
        yield from _table_faults(embedding.tables)
    if embedding.positions is not None:
        position = model["layers"][0].position
        if isinstance(position, Learned | Sinusoidal):
            message = f"{position.kind} positions are added to the embedding already"
            yield "embedding.positions", message, "remove the key, or use another `position`"
        if embedding.positions.size < model["context"]:
            message = f"a table of {embedding.positions.size} positions for a context of {model['context']} tokens"
            yield "embedding.positions.size", message, "use at least `context`"
    if embedding.token_dropout is not None and model["topology"] != "encoder":
        message = "the number of masked tokens is that of a whole text, and a cache reads parts of it"
        yield "embedding.token_dropout", message, "use `topology: encoder`"


def _table_faults(tables: FurtherTables) -> Iterator[Fault]:
    """Yield the faults of lists that do not fit together."""
    if min(tables.rows) <= tables.row:
        yield "embedding.tables.row", f"row {tables.row} of a table of {min(tables.rows)} rows", "use a lower index"
    for key in ("times", "widths"):
        values = getattr(tables, key)
        if values is not None and len(values) != len(tables.rows):
            message = f"{len(values)} numbers for {len(tables.rows)} tables"
            yield f"embedding.tables.{key}", message, "use one for each table"
    if tables.times is not None and tables.widths is not None:
        yield "embedding.tables.times", "rows with widths of their own are not added", "remove the key"
