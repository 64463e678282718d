"""KV caches in float: how a target writes new entries, and which part attention reads."""

from __future__ import annotations

import onnx_ir as ir

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.values import axis_name, fixed_size, required
from archc.compiler.lowerings.attention.operands import FloatKeys, FloatValues, Keys, Values

SLOTS = 2
"""The axis of a cache's slots, [batch, kv_heads, capacity, head_dim]."""


class FloatCaches:
    """Caches of the graph's own dtype, written by TensorScatter."""

    def update(self, node: ir.Node, op: GraphBuilder) -> ir.Value | None:
        """Lower `archc.UpdateCache` to TensorScatter, which may write in place."""
        cache, new, write_indices = map(required, node.inputs)
        return scatter(op, node, cache, new, write_indices, axis=-2)

    def keys(self, op: GraphBuilder, node: ir.Node) -> Keys:
        """Return the keys of an attention node."""
        return FloatKeys(self.live(op, node, required(node.inputs[1])))

    def values(self, op: GraphBuilder, node: ir.Node) -> Values:
        """Return the values of an attention node."""
        return FloatValues(self.live(op, node, required(node.inputs[2])))

    def live(self, op: GraphBuilder, node: ir.Node, cache: ir.Value) -> ir.Value:
        """Return the slots that an attention node's mask covers, in float."""
        return live_slots(op, node, cache, SLOTS)

    def slots(self, op: GraphBuilder, cache: ir.Value) -> ir.Value:
        """Return the number of slots of a cache, int64 [1]."""
        count: ir.Value = op.Shape(cache, start=SLOTS, end=SLOTS + 1)
        return count

    def gathered(self, op: GraphBuilder, cache: ir.Value, rows: ir.Value) -> ir.Value:
        """Return rows [B, S, V, N] of a cache that is seen as [B · K · slots, D], in float: [B · S, V, N, D]."""
        return gather_rows(op, cache, rows)


def scatter(
    op: GraphBuilder, node: ir.Node, cache: ir.Value, new: ir.Value, write_indices: ir.Value, axis: int
) -> ir.Value:
    """Write new entries into a cache in the mode of an UpdateCache node."""
    mode = node.attributes["mode"].as_string()
    written: ir.Value = op.TensorScatter(cache, new, write_indices, axis=axis, mode=mode)
    return written


def gather_rows(op: GraphBuilder, cache: ir.Value, rows: ir.Value) -> ir.Value:
    """Return rows [B, S, V, N] of [B, K, slots, D] that is seen as [B · K · slots, D], as [B · S, V, N, D]."""
    width = fixed_size(cache, 3)
    taken = op.Gather(op.Reshape(cache, op.ints(-1, width)), rows, axis=0)
    # [B, S, V, N, D] → [B · S, V, N, D].
    sizes = op.Concat(op.ints(-1), op.Shape(taken, start=2), axis=0)
    gathered: ir.Value = op.Reshape(taken, sizes)
    gathered.type = cache.type
    return gathered


def live_slots(op: GraphBuilder, node: ir.Node, cache: ir.Value, axis: int, slots: str = "") -> ir.Value:
    """Return the slots of a cache that an attention node's mask covers.

    `slots` is the name of the axis, for a cache that is stored in another shape. ONNX Runtime has no view of a part of
    a tensor, so Slice copies; a mask as long as the cache needs none.
    """
    mask = mask_of(node)
    slots = slots or axis_name(cache, axis)
    if not node.attributes["cached"].as_int() or (slots and slots == axis_name(mask, 3)):
        return cache
    part: ir.Value = op.Slice(cache, op.ints(0), op.Shape(mask, start=3, end=4), op.ints(axis))
    return part


SELECTIONS = ("SelectKeys", "SelectBlocks", "SelectWholeBlocks")
"""The nodes whose result is a mask of the keys that an indexer selects."""
_MASKS = {"JointAttention": 2, "LatentAttention": 5, "SelectBlocks": 2, "SelectWholeBlocks": 2}
"""The index of the mask among the inputs of nodes where it is not 3."""


def mask_of(node: ir.Node) -> ir.Value:
    """Return the mask [B, 1, S, T] of a node of attention or of an indexer."""
    return required(node.inputs[_MASKS.get(node.op_type, 3)])
