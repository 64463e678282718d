"""A bound spec as the model of a figure: stacks from their tables to their heads."""

from __future__ import annotations

from collections import Counter

from archc.archspec import BoundSpec
from archc.archspec import vocabulary as words
from archc.draw.describe.blocks import Block, End, Formula, Model, Row, Stack, Step
from archc.draw.describe.layers import layer_kinds
from archc.draw.describe.words import activation_name, factor, further_tags, norm_name, real, short, whole

# The keys of an embedding that are drawn.
_KNOWN = "vocab width table_width projection scale token_types norm positions tables token_dropout per_layer"


def describe_model(bound: BoundSpec, parameters: int) -> Model:
    """Return the blocks of a bound spec with that number of parameters."""
    context = f"context {whole(bound.context)}"
    if bound.encoder is not None:
        context = f"source {whole(bound.encoder.context)}, target {whole(bound.context)}"
    counts = f"{len(bound.layers)} layers"
    if bound.encoder is not None:
        counts = f"{len(bound.encoder.layers)} + {len(bound.layers)} layers"
    facts = [bound.topology, context, counts, f"{short(parameters)} parameters"]
    stacks = [_stack(bound, "decoder" if bound.encoder is not None else "", tied="")]
    if bound.encoder is not None:
        tied = "decoder's table" if bound.ties_encoder else ""
        stacks.insert(0, _stack(bound.encoder, "encoder", tied))
    return Model(bound.family, bound.size or "", bound.description, " · ".join(facts), tuple(stacks))


def _stack(bound: BoundSpec, name: str, tied: str) -> Stack:
    embedding, width = bound.embedding, bound.embedding.width
    direction = bound.direction or ("both" if bound.topology == "encoder" else "past")
    kinds, cells = layer_kinds(bound.layers, width, direction == "past")
    added = _added_tables(bound)
    tables = [_token_table(embedding, tied, "Tokens" if added else "Token embedding"), *added]
    after = []
    if not isinstance(embedding.norm, words.NoNorm):
        after.append(_norm("embedding_norm", embedding.norm))
    joined = sum((embedding.tables.widths or ()) if embedding.tables is not None else ())
    if embedding.table_width is not None or joined:
        projection = _projection((embedding.table_width or width) + joined, width, embedding.projection.bias)
        after.insert(len(after) if embedding.projection.after == "norm" else 0, projection)
    is_source = name == "encoder"
    return Stack(
        name=name,
        width=whole(width),
        inputs=tuple(tables),
        after_sum=tuple(after),
        kinds=kinds,
        cells=tuple(cells),
        notes=tuple(_notes(bound)),
        final_norm=None if isinstance(bound.final_norm, words.NoNorm) else _norm("final_norm", bound.final_norm),
        ends=() if is_source else tuple(_ends(bound)),
        ties_head=not is_source and getattr(bound.head, "tie", False),
    )


def _norm(name: str, norm: words.Norm) -> Block:
    assert not isinstance(norm, words.NoNorm)
    return Block(name, "norm", norm_name(norm), f"ε {real(norm.eps)}")


def _token_table(embedding: words.Embedding, tied: str, title: str) -> Block:
    tags = [] if embedding.scale is None else [factor(embedding.scale, embedding.width)]
    if embedding.per_layer is not None:
        per_layer = embedding.per_layer
        tags.append(f"per-layer vectors of {per_layer.width}")
    tags += [tied] if tied else []
    if embedding.token_dropout is not None:
        tags.append("token dropout scale")
    if embedding.tables is not None and embedding.tables.widths is not None:
        tags.append(f"joined: {' + '.join(map(str, embedding.tables.widths))}")
    tags += further_tags(embedding, _KNOWN)
    size = f"{whole(embedding.vocab)} × {whole(embedding.table_width or embedding.width)}"
    return Block("embedding", "table", title, size, tags=tuple(tags))


def _added_tables(bound: BoundSpec) -> list[Block]:
    """Return what is added to the embedding of tokens."""
    embedding, position = bound.embedding, bound.layers[0].position
    last = embedding.projection.after == "norm"
    width = whole((embedding.table_width if last else None) or embedding.width)
    tables = []
    if isinstance(position, words.Learned):
        rows = (position.size or bound.context) + position.offset
        tables.append(Block("positions", "table", "Positions", f"{whole(rows)} × {width}"))
    if isinstance(position, words.Sinusoidal):
        tables.append(Block("positions", "table", "Sinusoids", f"θ {real(position.theta)}"))
    if embedding.positions is not None:
        rows = embedding.positions.size + embedding.positions.offset
        tables.append(Block("positions", "table", "Positions", f"{whole(rows)} × {width}"))
    if embedding.tables is not None and embedding.tables.widths is None:
        rows = sum(embedding.tables.rows)
        tables.append(Block("further_tables", "table", "Features", f"{whole(rows)} × {width}"))
    if embedding.token_types is not None:
        tables.append(Block("token_types", "table", "Token types", f"{embedding.token_types} × {width}"))
    return tables


def _projection(source: int, target: int, bias: bool) -> Block:
    tags = ("bias",) if bias else ()
    return Block("embedding_projection", "table", "Projection", f"{whole(source)} → {whole(target)}", tags=tags)


def _notes(bound: BoundSpec) -> list[str]:
    """Return what holds for the layers of a stack together."""
    notes = []
    sharers = Counter(bound.weight_sets)
    if max(sharers.values()) > 1:
        notes.append(f"{len(bound.layers)} layers share {len(sharers)} set{'s' * (len(sharers) > 1)} of weights")
    if bound.prefix is not None:
        notes.append("prefix LM: the prompt attends in both directions")
    return notes


def _ends(bound: BoundSpec) -> list[End]:
    """Return head and pooler, each with its output; the hidden states if there is neither."""
    ends = [] if isinstance(bound.head, words.NoHead) else [_head(bound)]
    if not isinstance(bound.pooler, words.NoPooler):
        ends.append(_pooler(bound))
    return ends or [End(None, f"hidden states, {whole(bound.embedding.width)}")]


def _head(bound: BoundSpec) -> End:
    head, embedding = bound.head, bound.embedding
    width, vocab = whole(embedding.width), whole(getattr(head, "vocab", None) or embedding.vocab)
    sizes, logits = f"{width} → {vocab}", f"logits, {vocab}"
    tags = ["tied to embedding"] if getattr(head, "tie", False) else []
    match head:
        case words.LmHead():
            tags += [f"via {whole(embedding.table_width)}"] if embedding.table_width is not None else []
            tags += ["bias"] if head.bias else []
            tags += [f"logits {factor(head.scale, embedding.width)}"] if head.scale is not None else []
            tags += [f"softcap {real(head.softcap)}"] if head.softcap is not None else []
            return End(Block("head", "table", "LM head", sizes, tags=tuple(tags)), logits)
        case words.MlmHead():
            rows: list[Row] = [Step(f"dense → {whole(head.width or embedding.table_width or embedding.width)}")]
            rows.append(Formula(activation_name(head.activation)))
            rows += [] if isinstance(head.norm, words.NoNorm) else [Step(norm_name(head.norm))]
            rows.append(Step(f"out → {vocab}"))
            return End(Block("head", "table", "Masked-LM head", sizes, tuple(rows), tuple(tags)), logits)
        case words.VectorHead():
            tags += ["bias"] if head.bias else []
            block = Block("head", "table", "Vectors", f"{width} → {whole(head.width)}", tags=tuple(tags))
            return End(block, f"vectors, {whole(head.width)}")
        case _:
            assert isinstance(head, words.ClassesHead)
            rows = [Step(f"pool: {head.pool}")] if head.pool is not None else []
            if head.dense is not None:
                rows += _dense(head.dense)
            rows += [] if isinstance(head.norm, words.NoNorm) else [Step(norm_name(head.norm))]
            rows.append(Step(f"out → {whole(head.labels)}"))
            tags += ["bias"] if head.bias else []
            block = Block("head", "table", "Classes", f"per {head.per}", tuple(rows), tuple(tags))
            return End(block, f"class logits, {whole(head.labels)}")


def _dense(layer: words.DenseLayer) -> list[Row]:
    rows: list[Row] = [Step(f"dense → {whole(layer.width)}")]
    return rows if layer.activation == "none" else [*rows, Formula(activation_name(layer.activation))]


def _pooler(bound: BoundSpec) -> End:
    pooler, width = bound.pooler, bound.embedding.width
    titles = {"first-token": "first token", "cls": "first token", "eos": "end token", "last": "last token"}
    rows: list[Row] = []
    if isinstance(pooler, words.FirstTokenPooler):
        rows = [Step(f"dense → {whole(width)}"), Formula("tanh")]
    dense = pooler.dense if isinstance(pooler, words.Pooling) else None
    for layer in (dense, dense.then if dense is not None else None):
        if layer is not None:
            rows += _dense(layer)
            width = layer.width
    if isinstance(pooler, words.Pooling) and pooler.normalize:
        rows.append(Formula("unit length"))
    block = Block("pooler", "table", "Pooler", titles.get(pooler.kind, pooler.kind), tuple(rows))
    return End(block, f"pooled, {whole(width)}")
