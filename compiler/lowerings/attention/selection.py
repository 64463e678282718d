"""Selection of keys by an indexer in standard operators."""

from __future__ import annotations

import onnx_ir as ir

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.values import cast, fixed_size, required
from archc.compiler.lowerings.attention.caches import SLOTS, live_slots, mask_of
from archc.compiler.lowerings.attention.masks import lowest

_WIDE = ir.DataType.FLOAT
_END = 2**31 - 1


def select_keys(node: ir.Node, op: GraphBuilder) -> ir.Value:
    """Build the scores and the mask of the highest ones of each query."""
    mask = mask_of(node)
    return highest(op, scores(op, node), mask, node.attributes["keys"].as_int())


def scores(op: GraphBuilder, node: ir.Node) -> ir.Value:
    """Build Σ_w weight_w · ReLU(q_w · k) in float32, [B, 1, S, T].

    The heads of a query are rows next to each other, so that no tensor of scores is transposed.
    """
    q_BWSI, keys, weights_BSW = (required(value) for value in node.inputs[:3])
    width = fixed_size(q_BWSI, 3)
    rows = op.Reshape(op.Transpose(q_BWSI, perm=[0, 2, 1, 3]), op.ints(0, 1, -1, width))
    live = live_slots(op, node, keys, SLOTS)
    products = op.MatMul(rows, op.Transpose(live, perm=[0, 1, 3, 2]))
    products.type = q_BWSI.type
    # [B, 1, S · W, T] → [B, S, W, T]; a call may have no token, so no size is what remains.
    sizes = op.Concat(op.Shape(weights_BSW), op.Shape(mask_of(node), start=3), axis=0)
    by_query = op.Reshape(op.Relu(cast(op, products, _WIDE)), sizes, allowzero=1)
    weighted = op.MatMul(op.Unsqueeze(cast(op, weights_BSW, _WIDE), op.ints(2)), by_query)
    value: ir.Value = op.Transpose(weighted, perm=[0, 2, 1, 3])
    return value


def highest(op: GraphBuilder, numbers: ir.Value, mask: ir.Value, count: int) -> ir.Value:
    """Build the mask [B, 1, S, T] of the `count` highest numbers of a mask, of equal ones the first, or of all.

    TopK sorts equal numbers by their index: its last number and index bound what is selected.
    """
    attended = op.Where(mask, numbers, lowest(op, _WIDE))
    values, indices = op.TopK(attended, op.Min(op.ints(count), op.Shape(mask, start=3)), outputs=2, axis=-1)
    last, last_index = (op.Slice(item, op.ints(-1), op.ints(_END), op.ints(3)) for item in (values, indices))
    places = op.Range(op.scalar(0), op.Squeeze(op.Shape(mask, start=3), op.ints(0)), op.scalar(1))
    above, not_after = (
        op.Cast(part, to=_WIDE) for part in (op.Greater(attended, last), op.GreaterOrEqual(last_index, places))
    )
    chosen = op.Where(op.Equal(attended, last), not_after, above)
    selected: ir.Value = op.Greater(op.Where(mask, chosen, op.scalar(0.0, _WIDE)), op.scalar(0.5, _WIDE))
    selected.type, selected.shape = mask.type, mask.shape
    return selected
