"""KV caches in int8: a quarter of the size, and attention's products in integers over them.

Each token's key and value of a head is int8 with a scale of its own. Keys are stored transposed, as the product with
the queries reads them, unless an indexer selects among them: rows of them are gathered. A latent and the rotated key
next to it have a scale each, because their magnitudes have nothing in common; they are both keys and values, and are
dequantized for each call.
"""

from __future__ import annotations

from collections.abc import Container, MutableSequence, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from archc.compiler.contract.ports import mark, port, state_kind
from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.values import axis_name, fixed_size, required, shape_of
from archc.compiler.lowerings.attention.caches import FloatCaches, gather_rows, live_slots, mask_of, scatter
from archc.compiler.lowerings.attention.operands import Int8Keys, Int8Values, Keys, Values, magnitude

_READERS = {"Attention": (1, 2), "LatentAttention": (2,)}


@dataclass(frozen=True)
class _Stored:
    """A cache as the graph stores it; `parts` are the widths that lie side by side, each with a scale of its own.

    Integers are [B, K, C, D], or [B, K, D, C] if `transposed`; scales [B, K, parts, C].
    """

    integers: ir.Value
    scale: ir.Value
    slots: str
    transposed: bool
    parts: tuple[int, ...]


class Int8Caches:
    """Growing float32 caches stored as int8 with scales; other states stay as they are.

    Keys under a mask in `selected` are not transposed, because rows of them are gathered.
    """

    def __init__(self, selected: Container[ir.Value] = ()) -> None:
        self._float, self._selected = FloatCaches(), selected
        self._stored: dict[ir.Value, _Stored] = {}

    def update(self, node: ir.Node, op: GraphBuilder) -> ir.Value | None:
        """Lower `archc.UpdateCache` to updates of integers and scales, if attention alone reads the cache."""
        past, present = required(node.inputs[0]), node.outputs[0]
        if not _is_quantizable(past, present):
            return self._float.update(node, op)
        self._stored[present] = _store(op, node, self._selected)
        # The float cache stays until its attention is lowered; then nothing reads it.
        return None

    def keys(self, op: GraphBuilder, node: ir.Node) -> Keys:
        """Return the keys of an attention node."""
        stored = self._stored.get(required(node.inputs[1]))
        if stored is None:
            return self._float.keys(op, node)
        integers, scale = _live(op, node, stored)
        return Int8Keys(integers if stored.transposed else op.Transpose(integers, perm=[0, 1, 3, 2]), scale)

    def values(self, op: GraphBuilder, node: ir.Node) -> Values:
        """Return the values of an attention node."""
        stored = self._stored.get(required(node.inputs[2]))
        return self._float.values(op, node) if stored is None else Int8Values(*_live(op, node, stored))

    def live(self, op: GraphBuilder, node: ir.Node, cache: ir.Value) -> ir.Value:
        """Return the slots that an attention node's mask covers, in float32."""
        stored = self._stored.get(cache)
        if stored is None:
            return self._float.live(op, node, cache)
        return _dequantized(op, *_live(op, node, stored), stored.parts)

    def slots(self, op: GraphBuilder, cache: ir.Value) -> ir.Value:
        """Return the number of slots of a cache, int64 [1]."""
        stored = self._stored.get(cache)
        if stored is None:
            return self._float.slots(op, cache)
        count: ir.Value = op.Shape(stored.scale, start=3)
        return count

    def gathered(self, op: GraphBuilder, cache: ir.Value, rows: ir.Value) -> ir.Value:
        """Return rows [B, S, V, N] of a cache that is seen as [B · K · slots, D], in float32: [B · S, V, N, D]."""
        stored = self._stored.get(cache)
        if stored is None:
            return self._float.gathered(op, cache, rows)
        columns = op.Transpose(stored.scale, perm=[0, 1, 3, 2])
        columns.type, columns.shape = stored.scale.type, ir.Shape([None, None, None, len(stored.parts)])
        integers, scales = (gather_rows(op, part, rows) for part in (stored.integers, columns))
        return _scaled(op, integers, scales, stored.parts)


def _is_quantizable(past: ir.Value, present: ir.Value) -> bool:
    """Return whether a cache grows, is float32, and is read by attention alone, as keys or as values."""
    readers = {(use.node.op_type, use.idx) for use in present.uses()}
    return (
        state_kind(past) in ("kv", "ring")
        and past.dtype == ir.DataType.FLOAT
        and len(past.uses()) == 1
        and len(shape_of(past)) == 4
        and len(readers) == 1
        and all(index in _READERS.get(op_type, ()) for op_type, index in readers)
    )


def _store(op: GraphBuilder, node: ir.Node, selected: Container[ir.Value]) -> _Stored:
    """Replace the cache's input and output by two of each: integers and scales."""
    past, new, write_indices = map(required, node.inputs)
    present = node.outputs[0]
    ((reader, index), *_) = ((use.node, use.idx) for use in present.uses())
    transposed = (reader.op_type, index) == ("Attention", 1) and mask_of(reader) not in selected
    batch, heads, slots, width = shape_of(past)
    parts = _parts(reader, fixed_size(past, 3))

    pieces = _split(op, new, parts)
    steps = [op.Mul(magnitude(op, piece), op.scalar(1 / 127, ir.DataType.FLOAT)) for piece in pieces]
    rounded = [op.Round(op.Div(piece, step)) for piece, step in zip(pieces, steps, strict=True)]
    integers, scale = op.Cast(_join(op, rounded), to=ir.DataType.INT8), _join(op, steps)
    if transposed:
        integers = op.Transpose(integers, perm=[0, 1, 3, 2])
    scale = op.Transpose(scale, perm=[0, 1, 3, 2])

    shape = [batch, heads, width, slots] if transposed else [batch, heads, slots, width]
    states = [
        (past.name, ir.DataType.INT8, shape, integers, -1 if transposed else -2),
        (f"{past.name}.scale", ir.DataType.FLOAT, [batch, heads, len(parts), slots], scale, -1),
    ]
    facts = port(past)
    inputs, outputs = [], []
    for (name, dtype, sizes, entries, axis), output in zip(
        states, (present.name, f"{present.name}.scale"), strict=True
    ):
        source = ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(sizes))
        mark(source, {**facts, "output": output})
        written = scatter(op, node, source, entries, write_indices, axis)
        written.name, written.type, written.shape = output, source.type, source.shape
        mark(written, port(present))
        inputs.append(source)
        outputs.append(written)
    past.name, present.name = None, None
    _replace(op.graph.inputs, past, inputs)
    _replace(op.graph.outputs, present, outputs)
    owner = node.graph
    assert isinstance(owner, ir.Graph)
    owner.insert_before(node, op.nodes)
    return _Stored(outputs[0], outputs[1], axis_name(past, 2), transposed, parts)


def _replace(values: MutableSequence[ir.Value], old: ir.Value, new: Sequence[ir.Value]) -> None:
    index = next(index for index, value in enumerate(values) if value is old)
    values[index : index + 1] = new


def _parts(reader: ir.Node, width: int) -> tuple[int, ...]:
    """Return the widths in a token's entry: a latent and the rotated key next to it, or all of a head."""
    if reader.op_type != "LatentAttention":
        return (width,)
    latent = fixed_size(required(reader.inputs[3]), 1)
    return (latent, width - latent) if latent < width else (width,)


def _live(op: GraphBuilder, node: ir.Node, stored: _Stored) -> tuple[ir.Value, ir.Value]:
    """Return the integers and scales of the slots that an attention node's mask covers."""
    axis = 3 if stored.transposed else 2
    return (
        live_slots(op, node, stored.integers, axis, stored.slots),
        live_slots(op, node, stored.scale, 3, stored.slots),
    )


def _dequantized(op: GraphBuilder, integers: ir.Value, scale: ir.Value, parts: Sequence[int]) -> ir.Value:
    """Return float32 [B, K, T, D] of integers [B, K, T, D] and scales [B, K, parts, T]."""
    return _scaled(op, integers, op.Transpose(scale, perm=[0, 1, 3, 2]), parts)


def _scaled(op: GraphBuilder, integers: ir.Value, scales: ir.Value, parts: Sequence[int]) -> ir.Value:
    """Return float32 [B, K, T, D] of integers [B, K, T, D] and scales [B, K, T, parts]."""
    columns = _split(op, scales, [1] * len(parts))
    pieces = [op.Cast(piece, to=ir.DataType.FLOAT) for piece in _split(op, integers, parts)]
    return _join(op, [op.Mul(piece, column) for piece, column in zip(pieces, columns, strict=True)])


def _split(op: GraphBuilder, x: ir.Value, widths: Sequence[int]) -> Sequence[ir.Value]:
    """Return the parts of the last axis."""
    if len(widths) == 1:
        return [x]
    parts: Sequence[ir.Value] = op.Split(x, op.ints(*widths), outputs=len(widths), axis=-1)
    return parts


def _join(op: GraphBuilder, parts: Sequence[ir.Value]) -> ir.Value:
    """Return parts of the last axis as one."""
    joined: ir.Value = parts[0] if len(parts) == 1 else op.Concat(*parts, axis=-1)
    return joined
