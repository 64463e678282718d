"""Products that read float32 matrices as checkpoints store them, one row per output.

Transposing a matrix costs more than all else that a build does to it. A product that transposes while it packs or
reads the matrix takes no longer than one that need not.
"""

from __future__ import annotations

import onnx_ir as ir

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.domains import MICROSOFT
from archc.compiler.graph.values import required, shape_of
from archc.compiler.lowerings.linear import portable


def linear(node: ir.Node, op: GraphBuilder) -> ir.Value:
    """Lower to Gemm for rows [R, N], whose bias it adds, and to FusedMatMul for any other activation."""
    x, weight = map(required, node.inputs[:2])
    if weight.dtype != ir.DataType.FLOAT or portable.is_table(weight):
        return portable.linear(node, op)
    bias = portable.bias_of(node)
    if len(shape_of(x)) == 2:
        rows: ir.Value = op.Gemm(x, weight, bias, transB=1)
        return rows
    return portable.with_bias(op, op.FusedMatMul(x, weight, transB=1, domain=MICROSOFT), bias)
