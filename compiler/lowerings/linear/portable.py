"""Products with float weights by standard operators."""

from __future__ import annotations

import onnx_ir as ir

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.values import fixed_size, required
from archc.compiler.weights.lazy import WeightTensor
from archc.compiler.weights.steps import Transpose


def linear(node: ir.Node, op: GraphBuilder) -> ir.Value:
    """Lower to MatMul with the transposed weight; a table that is looked up too is stored once, and read by Gemm."""
    x, weight = map(required, node.inputs[:2])
    if is_table(weight):
        return with_bias(op, table_product(op, x, weight), bias_of(node))
    return with_bias(op, op.MatMul(x, transposed(op, weight)), bias_of(node))


def table_product(op: GraphBuilder, x: ir.Value, weight: ir.Value) -> ir.Value:
    """Build x[..., N] · weight[M, N]ᵀ with the weight as it is stored."""
    rows = op.Gemm(op.Reshape(x, op.ints(-1, fixed_size(weight, 1))), weight, transB=1)
    return unflatten_rows(op, rows, x, fixed_size(weight, 0))


def unflatten_rows(op: GraphBuilder, rows: ir.Value, x: ir.Value, width: int) -> ir.Value:
    """Build [R, width] → [..., width] for R rows of x [..., N]; a call may have no rows."""
    shape = op.Concat(op.Shape(x, start=0, end=-1), op.ints(width), axis=0)
    value: ir.Value = op.Reshape(rows, shape, allowzero=1)
    return value


def transposed(op: GraphBuilder, weight: ir.Value) -> ir.Value:
    """Return a matrix, or a stack of matrices, with its last two axes swapped; a weight is stored that way."""
    if isinstance(weight.const_value, WeightTensor):
        return op.initializer(weight.const_value.then(Transpose()))
    assert weight.shape is not None
    order = list(range(len(weight.shape)))
    order[-2:] = order[-1], order[-2]
    value: ir.Value = op.Transpose(weight, perm=order)
    return value


def bias_of(node: ir.Node) -> ir.Value | None:
    """Return the bias [M] of a Linear node."""
    return node.inputs[2] if len(node.inputs) > 2 else None


def with_bias(op: GraphBuilder, product: ir.Value, bias: ir.Value | None) -> ir.Value:
    """Add a bias to a product."""
    value: ir.Value = product if bias is None else op.Add(product, bias)
    return value


def is_table(weight: ir.Value) -> bool:
    """Return whether rows of a weight are looked up, next to its products."""
    return any(is_lookup(use.node, use.idx) for use in weight.uses())


def is_lookup(node: ir.Node, index: int) -> bool:
    """Return whether a node looks up rows of its input of that index."""
    table = node.op_type == "Gather" and index == 0 and node.attributes.get_int("axis", 0) == 0
    return table or (node.op_type == "GatherBlockQuantized" and index == 0)
