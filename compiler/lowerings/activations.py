"""Lowerings of Swish, and the activations of experts as nodes."""

from __future__ import annotations

import onnx_ir as ir

from archc.compiler.graph.builder import Builder, GraphBuilder
from archc.compiler.graph.domains import MICROSOFT
from archc.compiler.graph.values import dtype_of, required
from archc.compiler.ops.activations import ACTIVATIONS


def swish(node: ir.Node, op: GraphBuilder) -> ir.Value:
    """Lower x · sigmoid(alpha · x) to Mul and Sigmoid (Ramachandran et al. 2017; SiLU where alpha is 1)."""
    x = required(node.inputs[0])
    alpha = node.attributes.get_float("alpha", 1.0)
    value: ir.Value = op.Mul(x, op.Sigmoid(x if alpha == 1.0 else op.Mul(x, op.scalar(alpha, dtype_of(x)))))
    return value


def quick_gelu(node: ir.Node, op: GraphBuilder) -> ir.Value:
    """Lower Swish to ONNX Runtime's QuickGelu, one node that reads its input once."""
    value: ir.Value = op.QuickGelu(node.inputs[0], alpha=node.attributes.get_float("alpha", 1.0), domain=MICROSOFT)
    return value


def activation_nodes(op: Builder, x: ir.Value, name: str, dtype: ir.DataType, beta: float = 0.0) -> ir.Value:
    """Return `archc.compiler.ops.activations.activation` as nodes."""
    x.type = ir.TensorType(dtype)
    value: ir.Value = op.Swish(x, alpha=beta) if beta else ACTIVATIONS[name].nodes(op, x)
    return value


def gated_nodes(
    op: Builder,
    gate: ir.Value,
    up: ir.Value,
    name: str,
    beta: float,
    limit: float,
    up_offset: float,
    dtype: ir.DataType,
    activation_limit: float = 0.0,
) -> ir.Value:
    """Return `archc.compiler.ops.activations.gated` as nodes."""

    def clip(x: ir.Value, bound: float) -> ir.Value:
        clipped: ir.Value = op.Clip(x, op.scalar(-bound, dtype), op.scalar(bound, dtype))
        return clipped

    if limit:
        gate, up = op.Min(gate, op.scalar(limit, dtype)), clip(up, limit)
    product = activation_nodes(op, gate, name, dtype, beta)
    if activation_limit:
        product, up = op.Min(product, op.scalar(activation_limit, dtype)), clip(up, activation_limit)
    value: ir.Value = op.Mul(product, op.Add(up, op.scalar(up_offset, dtype)) if up_offset else up)
    return value
