"""Parameters of several residual streams: their beginning and end, and those of a layer."""

from __future__ import annotations

from collections.abc import Sequence

from archc.archspec import vocabulary as words
from archc.compiler.contract.ngram_tables import NgramTables
from archc.compiler.structure.part import Part, linear, norm, part, table
from archc.compiler.structure.recurrence import depthwise


def first_streams(word: words.Streams | None, width: int) -> Part | None:
    """Return the projection from the embedding to further streams, if there is one."""
    if not isinstance(word, words.AltUp):
        return None
    return part(projection=linear(width, (word.count - 1) * width, False))


def joined_streams(word: words.Streams | None, width: int) -> Part | None:
    """Return what joins the streams of the last layer, if it has weights."""
    match word:
        case words.AltUp():
            projections = {str(index): linear(width, width, False) for index in range(word.count - 1)}
            return part(projections=part(**projections))
        case words.HyperConnections(output="weighted"):
            return _logits(word, width, [word.count])
        case words.GatedStreams():
            return _reader(word, width)
    return None


def layer_streams(word: words.Layer, width: int) -> dict[str, Part | None]:
    """Return the parts of a layer that read and change streams, by name."""
    streams = word.streams
    match streams:
        case words.AltUp():
            return {"streams": _alternating(streams, width)}
        case words.HyperConnections():
            count = streams.count
            each = _logits(streams, width, [count, count, *([count**2] if streams.mixing is not None else [])])
        case words.GatedStreams():
            each = _reader(streams, width, factors=linear(streams.count * width, streams.count, False))
        case None:
            return {}
    has_mixer = any((word.mixing, word.attention, word.recurrence))
    return {"mixer_streams": each if has_mixer else None, "mlp_streams": each if word.mlp is not None else None}


def ngram_memory(layer: words.Layer, vocab: int, width: int) -> Part | None:
    """Return a layer's memory of n-grams, if it has one."""
    word, streams = layer.ngram_memory, layer.stream_count
    if word is None:
        return None
    tables = NgramTables(word, vocab)
    each = part({"weight": (streams, width)})
    return part(
        tables=table(tables.rows, word.width // tables.count),
        key=linear(word.width, streams * width, False),
        value=linear(word.width, width, False),
        key_norm=each,
        query_norm=each,
        value_norm=each,
        convolution=depthwise(word.kernel, streams * width, False),
    )


def _reader(word: words.GatedStreams, width: int, **parts: Part) -> Part:
    total = word.count * width
    return part(
        norm=part({"weight": (word.count, width)}),
        down=linear(total, word.rank, False),
        up=linear(word.rank, total, False),
        **parts,
    )


def _alternating(word: words.AltUp, width: int) -> Part:
    return part(
        {"scale": (width,) if word.scale else None},
        norm=norm(word.norm, width),
        router=linear(width, word.count, False),
        prediction=linear(word.count, word.count**2, False),
        correction=linear(word.count, word.count, False),
    )


def _logits(word: words.HyperConnections, width: int, sizes: Sequence[int]) -> Part:
    total = word.count * width
    shapes = {"scale": (len(sizes),), "bias": (sum(sizes),)}
    return part(shapes, norm=norm(word.norm, total), projection=linear(total, sum(sizes), False))
