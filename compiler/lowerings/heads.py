"""Lowerings of layout operators: heads as an axis, rows at chosen positions."""

from __future__ import annotations

import onnx_ir as ir

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.values import fixed_size, required


def split_heads(node: ir.Node, op: GraphBuilder) -> ir.Value:
    """Lower [B, S, heads · D] → [B, heads, S, D] to Reshape and Transpose."""
    x, heads = required(node.inputs[0]), node.attributes["heads"].as_int()
    # A zero in Reshape's target copies that axis, so no arithmetic on shapes is left in the graph; -1 fails without
    # tokens.
    value: ir.Value = op.Transpose(op.Reshape(x, op.ints(0, 0, heads, fixed_size(x, 2) // heads)), perm=[0, 2, 1, 3])
    return value


def take_positions(node: ir.Node, op: GraphBuilder) -> ir.Value:
    """Lower the rows of [B, S, N] at positions [B, P] to GatherND."""
    x, positions = map(required, node.inputs)
    rows: ir.Value = op.GatherND(x, op.Unsqueeze(positions, op.ints(-1)), batch_dims=1)
    return rows
