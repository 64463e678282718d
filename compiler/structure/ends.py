"""Parameters of both ends of a model: embedding, head, pooler."""

from __future__ import annotations

from archc.archspec import BoundSpec
from archc.archspec import vocabulary as words
from archc.compiler.contract.inputs_outputs import learned_positions
from archc.compiler.structure.part import Part, activation, linear, norm, part, table
from archc.compiler.structure.streams import first_streams


def embedding(spec: BoundSpec, shares_tokens: bool) -> Part:
    """Return the tables of an embedding, whose token table is another model's if it is shared."""
    word, positions = spec.embedding, learned_positions(spec)
    table_width = word.table_width or word.width
    width = table_width if word.projection.after == "norm" else word.width
    joined = sum((word.tables.widths or ()) if word.tables is not None else ())
    rows = (positions.size or 0) + positions.offset if positions is not None else 0
    has_projection = word.table_width is not None or joined > 0
    return part(
        tokens=table(word.vocab, table_width) if not shares_tokens else None,
        projection=linear(table_width + joined, word.width, word.projection.bias) if has_projection else None,
        tables=_further_tables(word.tables, width) if word.tables is not None else None,
        positions=table(rows, width) if positions is not None else None,
        token_types=table(word.token_types, width) if word.token_types else None,
        norm=norm(word.norm, width),
        streams=first_streams(spec.layers[0].streams, word.width),
        per_layer=_per_layer(word.per_layer, word.width, len(spec.layers)) if word.per_layer is not None else None,
    )


def head(spec: BoundSpec) -> Part | None:
    """Return the head; a tied one has no weight of its own, and the same arithmetic."""
    word, inputs = spec.head, spec.embedding
    match word:
        case words.LmHead():
            width = inputs.table_width or inputs.width
            narrowed = linear(inputs.width, width, False) if inputs.table_width else None
            return _projection(word.vocab or inputs.vocab, width, word.tie, word.bias, projection=narrowed)
        case words.MlmHead():
            width = word.width or inputs.table_width or inputs.width
            inner = word.inner_width
            return _projection(
                inputs.vocab,
                width,
                word.tie,
                word.bias,
                inner=linear(inputs.width, inner, word.dense_bias) if inner is not None else None,
                dense=linear(inner or inputs.width, width, word.dense_bias),
                activation=activation(word.activation),
                norm=norm(word.norm, width),
            )
        case words.ClassesHead():
            width = word.dense.width if word.dense is not None else inputs.width
            dense = _dense(word.dense, inputs.width) if word.dense is not None else None
            return _projection(word.labels, width, False, word.bias, dense=dense, norm=norm(word.norm, width))
        case words.VectorHead():
            return linear(inputs.width, word.width, word.bias)
    return None


def pooler(word: words.Pooler, width: int) -> Part | None:
    """Return the pooler of hidden states of that width."""
    match word:
        case words.FirstTokenPooler():
            return linear(width, width, True)
        case words.Pooling():
            return part(dense=_dense(word.dense, width) if word.dense is not None else None)
    return None


def _projection(rows: int, width: int, tied: bool, bias: bool, **parts: Part | None) -> Part:
    shapes = {"weight": (rows, width) if not tied else None, "bias": (rows,) if bias else None}
    return part(shapes, **parts).with_flops(2 * rows * width)


def _dense(word: words.DenseLayer, width: int) -> Part:
    second = word.then if isinstance(word, words.DenseProjection) else None
    first = linear(width, word.width, word.bias)
    return Part(first.shapes, {"then": _dense(second, word.width)} if second is not None else {}, first.flops)


def _further_tables(word: words.FurtherTables, width: int) -> Part:
    widths = word.widths or (width,) * len(word.rows)
    return part(**{str(index): table(*sizes) for index, sizes in enumerate(zip(word.rows, widths, strict=True))})


def _per_layer(word: words.PerLayerEmbedding, width: int, layers: int) -> Part:
    return part(
        tokens=table(word.vocab, layers * word.width) if word.vocab is not None else None,
        projection=linear(width, layers * word.width, False),
        norm=norm(word.norm, word.width),
    )
