"""Selection of keys by an indexer in standard operators: scores, and the mask of the highest ones."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.values import cast, fixed_size, required, typed_like
from archc.compiler.lowerings.attention.caches import SLOTS, live_slots, mask_of
from archc.compiler.lowerings.attention.masks import lowest

WIDE = ir.DataType.FLOAT
"""The type of scores."""
_END = 2**31 - 1
_FIRST = 3e38  # leads every score


def select_keys(node: ir.Node, op: GraphBuilder) -> ir.Value:
    """Build the scores and the mask of the highest ones of each query."""
    return mask_of_keys(op, node, key_scores(op, node))


def select_blocks(node: ir.Node, op: GraphBuilder) -> ir.Value:
    """Build the largest score of each block, and for each head of the attention the mask of the best blocks' keys."""
    return mask_of_blocks(op, node, block_scores(op, node))


def key_scores(op: GraphBuilder, node: ir.Node) -> ir.Value:
    """Build Σ_w weight_w · ReLU(q_w · k) in float32, [B, 1, S, T], with the lowest number for masked keys.

    The heads of a query are rows next to each other, so that no tensor of scores is transposed.
    """
    q_BWSI, keys, weights_BSW = (required(value) for value in node.inputs[:3])
    mask, width = mask_of(node), fixed_size(q_BWSI, 3)
    rows = op.Reshape(op.Transpose(q_BWSI, perm=[0, 2, 1, 3]), op.ints(0, 1, -1, width))
    live = live_slots(op, node, keys, SLOTS)
    products = op.MatMul(rows, op.Transpose(live, perm=[0, 1, 3, 2]))
    products.type = q_BWSI.type
    # [B, 1, S · W, T] → [B, S, W, T]; a call may have no token, so no size is what remains.
    sizes = op.Concat(op.Shape(weights_BSW), op.Shape(mask, start=3), axis=0)
    by_query = op.Reshape(op.Relu(cast(op, products, WIDE)), sizes, allowzero=1)
    weighted = op.MatMul(op.Unsqueeze(cast(op, weights_BSW, WIDE), op.ints(2)), by_query)
    scores: ir.Value = op.Where(mask, op.Transpose(weighted, perm=[0, 2, 1, 3]), lowest(op, WIDE))
    return scores


def mask_of_keys(op: GraphBuilder, node: ir.Node, scores: ir.Value) -> ir.Value:
    """Build the mask [B, 1, S, T] of the highest scores, of equal ones the first, or of all."""
    mask, count = mask_of(node), node.attributes["keys"].as_int()
    end = op.Shape(mask, start=3)
    places = op.Range(op.scalar(0), op.Squeeze(end, op.ints(0)), op.scalar(1))
    chosen = best_of(op, scores, op.Min(op.ints(count), end), places)
    selected: ir.Value = op.Greater(op.Where(mask, chosen, op.scalar(0.0, WIDE)), op.scalar(0.5, WIDE))
    return typed_like(selected, mask)


@dataclass(frozen=True)
class BlockScores:
    """The scores of N blocks of M keys in float32: of the keys [B, W, S, N, M], the lowest number for masked ones and
    after the last, and of the blocks [B, W, S, N]; the blocks' numbers [N], and int64 [1] their count.
    """

    keys: ir.Value
    blocks: ir.Value
    numbers: ir.Value
    count: ir.Value


def block_scores(op: GraphBuilder, node: ir.Node) -> BlockScores:
    """Build max q_w · k over the keys of each block; the last blocks up to that of the query lead all others."""
    q_BWSI, keys, mask = (required(value) for value in node.inputs)
    block, last = (node.attributes[name].as_int() for name in ("block", "last"))
    end = op.Shape(mask, start=3)
    live = live_slots(op, node, keys, SLOTS)
    products = op.MatMul(q_BWSI, op.Transpose(live, perm=[0, 1, 3, 2]))
    products.type = q_BWSI.type
    attended = op.Where(mask, cast(op, products, WIDE), lowest(op, WIDE))
    # [B, W, S, T] → [B, W, S, count, block], with the lowest number after the last key.
    count = op.Div(op.Add(end, op.ints(block - 1)), op.ints(block))
    outer = op.Concat(op.Shape(q_BWSI, start=0, end=3), op.Sub(op.Mul(count, op.ints(block)), end), axis=0)
    padded = op.Concat(attended, op.Expand(lowest(op, WIDE), outer), axis=3)
    by_block = op.Reshape(
        padded, op.Concat(op.Shape(q_BWSI, start=0, end=3), count, op.ints(block), axis=0), allowzero=1
    )
    best = op.ReduceMax(by_block, op.ints(4), keepdims=0)
    # The block of the last attended key is that of the query.
    places = op.Range(op.scalar(0), op.Squeeze(end, op.ints(0)), op.scalar(1))
    own = op.Div(op.ReduceMax(op.Mul(op.Cast(mask, to=ir.DataType.INT64), places), op.ints(3)), op.ints(block))
    numbers = op.Range(op.scalar(0), op.Squeeze(count, op.ints(0)), op.scalar(1))
    behind = op.Sub(own, numbers)
    near = op.Where(op.Greater(op.scalar(last), behind), op.scalar(_FIRST, WIDE), best)
    return BlockScores(by_block, op.Where(op.GreaterOrEqual(behind, op.scalar(0)), near, best), numbers, count)


def mask_of_blocks(op: GraphBuilder, node: ir.Node, scores: BlockScores) -> ir.Value:
    """Build the mask [B, H, S, T] of the blocks with the highest scores, of equal ones the first."""
    q_BWSI, mask = required(node.inputs[0]), mask_of(node)
    heads, block, blocks = (node.attributes[name].as_int() for name in ("heads", "block", "blocks"))
    groups = fixed_size(q_BWSI, 1)
    chosen = best_of(op, scores.blocks, op.Min(op.ints(blocks), scores.count), scores.numbers)
    # [B, W, S, N] → [B, W, S, T] → [B, H, S, T].
    numbers_BWST = of_keys(op, chosen, scores.count, block, mask)
    sizes = op.Concat(
        op.Shape(q_BWSI, start=0, end=1), op.ints(groups, heads // groups), op.Shape(mask, start=2), axis=0
    )
    by_head = op.Expand(op.Unsqueeze(numbers_BWST, op.ints(2)), sizes)
    flat = op.Concat(op.Shape(q_BWSI, start=0, end=1), op.ints(heads), op.Shape(mask, start=2), axis=0)
    selected: ir.Value = op.Greater(op.Reshape(by_head, flat, allowzero=1), op.scalar(0.5, WIDE))
    return typed_like(selected, node.outputs[0])


def of_keys(op: GraphBuilder, numbers_BWSN: ir.Value, count: ir.Value, block: int, mask: ir.Value) -> ir.Value:
    """Build the number of each key's block, [B, W, S, T], and 0 for masked keys; int64 [1] `count` is N."""
    spread = op.Expand(
        op.Unsqueeze(numbers_BWSN, op.ints(4)), op.Concat(op.Shape(numbers_BWSN), op.ints(block), axis=0)
    )
    outer = op.Shape(numbers_BWSN, start=0, end=3)
    whole = op.Reshape(spread, op.Concat(outer, op.Mul(count, op.ints(block)), axis=0), allowzero=1)
    live = op.Slice(whole, op.ints(0), op.Shape(mask, start=3), op.ints(3))
    numbers_BWST: ir.Value = op.Where(mask, live, op.scalar(0.0, WIDE))
    return numbers_BWST


def best_of(op: GraphBuilder, numbers: ir.Value, count: ir.Value, places: ir.Value) -> ir.Value:
    """Build 1 for the `count` highest numbers of the last axis, of equal ones the first, and 0 elsewhere, in float32.

    TopK sorts equal numbers by their index: its last number and index bound what is selected.
    """
    values, indices = op.TopK(numbers, count, outputs=2, axis=-1)
    last, last_index = (op.Slice(item, op.ints(-1), op.ints(_END), op.ints(3)) for item in (values, indices))
    above, not_after = (
        op.Cast(part, to=WIDE) for part in (op.Greater(numbers, last), op.GreaterOrEqual(last_index, places))
    )
    value: ir.Value = op.Where(op.Equal(numbers, last), not_after, above)
    return value
