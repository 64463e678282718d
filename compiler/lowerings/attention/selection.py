"""Selection of keys by an indexer in standard operators."""

from __future__ import annotations

import onnx_ir as ir

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.values import cast, fixed_size, required
from archc.compiler.lowerings.attention.caches import SLOTS, live_slots, mask_of
from archc.compiler.lowerings.attention.masks import lowest

_WIDE = ir.DataType.FLOAT
_END = 2**31 - 1
_FIRST = 3e38  # leads every score


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


def select_blocks(node: ir.Node, op: GraphBuilder) -> ir.Value:
    """Build the largest score of each block, and for each head of the attention the mask of the best blocks' keys."""
    q_BWSI, keys, mask = (required(value) for value in node.inputs)
    heads, block, blocks, last = (node.attributes[name].as_int() for name in ("heads", "block", "blocks", "last"))
    groups, end = fixed_size(q_BWSI, 1), op.Shape(mask, start=3)
    live = live_slots(op, node, keys, SLOTS)
    products = op.MatMul(q_BWSI, op.Transpose(live, perm=[0, 1, 3, 2]))
    products.type = q_BWSI.type
    attended = op.Where(mask, cast(op, products, _WIDE), lowest(op, _WIDE))
    # [B, W, S, T] → [B, W, S, count, block], with the lowest number after the last key.
    count = op.Div(op.Add(end, op.ints(block - 1)), op.ints(block))
    outer = op.Concat(op.Shape(q_BWSI, start=0, end=3), op.Sub(op.Mul(count, op.ints(block)), end), axis=0)
    padded = op.Concat(attended, op.Expand(lowest(op, _WIDE), outer), axis=3)
    rows = op.Concat(op.Shape(q_BWSI, start=0, end=3), count, axis=0)
    by_block = op.Reshape(padded, op.Concat(rows, op.ints(block), axis=0), allowzero=1)
    best = op.ReduceMax(by_block, op.ints(4), keepdims=0)
    # The block of the last attended key is that of the query.
    places = op.Range(op.scalar(0), op.Squeeze(end, op.ints(0)), op.scalar(1))
    own = op.Div(op.ReduceMax(op.Mul(op.Cast(mask, to=ir.DataType.INT64), places), op.ints(3)), op.ints(block))
    numbers = op.Range(op.scalar(0), op.Squeeze(count, op.ints(0)), op.scalar(1))
    behind = op.Sub(own, numbers)
    near = op.Where(op.Greater(op.scalar(last), behind), op.scalar(_FIRST, _WIDE), best)
    best = op.Where(op.GreaterOrEqual(behind, op.scalar(0)), near, best)
    chosen = _chosen(op, best, op.Min(op.ints(blocks), count), numbers)
    # [B, W, S, count] → [B, W, S, T] → [B, H, S, T].
    spread = op.Expand(op.Unsqueeze(chosen, op.ints(4)), op.Concat(rows, op.ints(block), axis=0))
    whole = op.Reshape(
        spread, op.Concat(op.Shape(q_BWSI, start=0, end=3), op.Mul(count, op.ints(block)), axis=0), allowzero=1
    )
    numbers_BWST = op.Where(mask, op.Slice(whole, op.ints(0), end, op.ints(3)), op.scalar(0.0, _WIDE))
    sizes = op.Concat(
        op.Shape(q_BWSI, start=0, end=1), op.ints(groups, heads // groups), op.Shape(mask, start=2), axis=0
    )
    by_head = op.Expand(op.Unsqueeze(numbers_BWST, op.ints(2)), sizes)
    flat = op.Concat(op.Shape(q_BWSI, start=0, end=1), op.ints(heads), op.Shape(mask, start=2), axis=0)
    selected: ir.Value = op.Greater(op.Reshape(by_head, flat, allowzero=1), op.scalar(0.5, _WIDE))
    selected.type, selected.shape = node.outputs[0].type, node.outputs[0].shape
    return selected


def highest(op: GraphBuilder, numbers: ir.Value, mask: ir.Value, count: int) -> ir.Value:
    """Build the mask [B, 1, S, T] of the `count` highest numbers of a mask, of equal ones the first, or of all."""
    attended = op.Where(mask, numbers, lowest(op, _WIDE))
    places = op.Range(op.scalar(0), op.Squeeze(op.Shape(mask, start=3), op.ints(0)), op.scalar(1))
    chosen = _chosen(op, attended, op.Min(op.ints(count), op.Shape(mask, start=3)), places)
    selected: ir.Value = op.Greater(op.Where(mask, chosen, op.scalar(0.0, _WIDE)), op.scalar(0.5, _WIDE))
    selected.type, selected.shape = mask.type, mask.shape
    return selected


def _chosen(op: GraphBuilder, numbers: ir.Value, count: ir.Value, places: ir.Value) -> ir.Value:
    """Build 1 for the `count` highest numbers of the last axis, of equal ones the first, and 0 elsewhere, in float32.

    TopK sorts equal numbers by their index: its last number and index bound what is selected.
    """
    values, indices = op.TopK(numbers, count, outputs=2, axis=-1)
    last, last_index = (op.Slice(item, op.ints(-1), op.ints(_END), op.ints(3)) for item in (values, indices))
    above, not_after = (
        op.Cast(part, to=_WIDE) for part in (op.Greater(numbers, last), op.GreaterOrEqual(last_index, places))
    )
    value: ir.Value = op.Where(op.Equal(numbers, last), not_after, above)
    return value
