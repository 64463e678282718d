"""Blocks of tokens whose keys are compressed, in standard operators."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.values import required, typed_like

_WIDE = ir.DataType.FLOAT
_ROWS, _KEYS = 1, 3
"""The axes of rows [B, T, X], and of the keys of a mask [B, 1, S, T]."""


def rows_of_blocks(node: ir.Node, op: GraphBuilder) -> ir.Value:
    """Build the rows up to the end of each block that ends in a call, as one gathering of rows."""
    x_BTX, starts_B = map(required, node.inputs)
    block, count = (node.attributes[name].as_int() for name in ("block", "count"))
    total = op.Shape(x_BTX, start=_ROWS, end=_ROWS + 1)
    new = op.Sub(total, op.ints(count - 1))
    blocks = op.Add(op.Div(new, op.ints(block)), op.ints(1))
    # The first block of row b ends block − 1 − starts[b] mod block rows after the first new one.
    whole = op.Mul(op.Div(starts_B, op.ints(block)), op.ints(block))
    first = op.Sub(op.ints(block - 1), op.Sub(starts_B, whole))
    ends = op.Mul(op.Range(op.scalar(0), op.Squeeze(blocks, op.ints(0)), op.scalar(1)), op.ints(block))
    places_JL = op.Add(op.Unsqueeze(ends, op.ints(1)), op.constant(np.arange(count, dtype=np.int64)))
    places_BJL = op.Min(op.Add(op.Unsqueeze(first, op.ints(1, 2)), places_JL), op.Sub(total, op.ints(1)))
    rows: ir.Value = op.GatherND(x_BTX, op.Unsqueeze(places_BJL, op.ints(-1)), batch_dims=1)
    return rows


def mask_of_blocks(node: ir.Node, op: GraphBuilder) -> ir.Value:
    """Build the last key of each whole block as numbers, because not every runtime has slices of booleans."""
    mask, block = required(node.inputs[0]), node.attributes["block"].as_int()
    numbers = op.Where(mask, op.scalar(1.0, _WIDE), op.scalar(0.0, _WIDE))
    end = op.Shape(mask, start=_KEYS)
    ends = op.Slice(numbers, op.ints(block - 1), end, op.ints(_KEYS), op.ints(block))
    hidden = op.Expand(op.scalar(0.0, _WIDE), op.Concat(op.Shape(mask, end=_KEYS), op.ints(1), axis=0))
    whole: ir.Value = op.Greater(op.Concat(ends, hidden, axis=_KEYS), op.scalar(0.5, _WIDE))
    return typed_like(whole, node.outputs[0])
