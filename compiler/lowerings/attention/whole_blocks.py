"""Selection of whole blocks of keys by an indexer in standard operators."""

from __future__ import annotations

import onnx_ir as ir

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.values import cast, dtype_of, fixed_size, required, typed_like
from archc.compiler.lowerings.attention.caches import SLOTS
from archc.compiler.lowerings.attention.masks import lowest
from archc.compiler.lowerings.attention.selection import WIDE, best_of, of_keys


def select_whole_blocks(node: ir.Node, op: GraphBuilder) -> ir.Value:
    """Build the scores of the whole blocks, and the mask of the best ones' keys and of those after the last one.

    One more block than there are whole ones has the rest, so that a call with fewer keys than a block has one, too.
    """
    q_BWSI, keys, mask = (required(value) for value in node.inputs[:3])
    weights_BSW = node.inputs[3] if len(node.inputs) > 3 else None
    block, blocks = (node.attributes[name].as_int() for name in ("block", "blocks"))
    end, width = op.Shape(mask, start=3), fixed_size(q_BWSI, 3)
    count = op.Add(op.Div(end, op.ints(block)), op.ints(1))
    step = op.ints(block - 1), end, op.ints(3), op.ints(block)
    rest = op.Expand(op.scalar(0.0, WIDE), op.Concat(op.Shape(mask, start=0, end=3), op.ints(1), axis=0))
    whole = op.Concat(op.Slice(op.Where(mask, op.scalar(1.0, WIDE), op.scalar(0.0, WIDE)), *step), rest, axis=3)
    stored = op.Slice(keys, op.ints(block - 1), end, op.ints(SLOTS), op.ints(block))
    stored.type = q_BWSI.type
    zeros = op.Expand(
        op.scalar(0.0, dtype_of(q_BWSI)), op.Concat(op.Shape(q_BWSI, start=0, end=1), op.ints(1, 1, width), axis=0)
    )
    products = op.MatMul(q_BWSI, op.Transpose(op.Concat(stored, zeros, axis=SLOTS), perm=[0, 1, 3, 2]))
    products.type = q_BWSI.type
    weighted = op.Relu(cast(op, products, WIDE))
    if weights_BSW is not None:
        by_head = op.Transpose(cast(op, weights_BSW, WIDE), perm=[0, 2, 1])
        weighted = op.Mul(weighted, op.Unsqueeze(by_head, op.ints(3)))
    scores = op.ReduceSum(weighted, op.ints(1), keepdims=1)
    is_whole = op.Greater(whole, op.scalar(0.5, WIDE))
    chosen = best_of(
        op,
        op.Where(is_whole, scores, lowest(op, WIDE)),
        op.Min(op.ints(blocks), count),
        op.Range(op.scalar(0), op.Squeeze(count, op.ints(0)), op.scalar(1)),
    )
    kept = op.Where(is_whole, chosen, op.scalar(1.0, WIDE))
    selected: ir.Value = op.Greater(of_keys(op, kept, count, block, mask), op.scalar(0.5, WIDE))
    return typed_like(selected, node.outputs[0])
