"""Lowerings of `archc.Norm`."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.values import dtype_of, fixed_size, required
from archc.compiler.weights.lazy import WeightTensor
from archc.compiler.weights.steps import Offset


def standard_norm(node: ir.Node, op: GraphBuilder) -> ir.Value:
    """Lower a norm over the last axis to RMSNormalization or LayerNormalization."""
    x = required(node.inputs[0])
    weight, bias = (node.inputs[index] if len(node.inputs) > index else None for index in (1, 2))
    attributes = {"axis": -1, "epsilon": node.attributes["epsilon"].as_float(), "stash_type": 1}
    scale = _scale(op, x, weight, node.attributes["offset"].as_float())
    if node.attributes["kind"].as_string() == "rms":
        value: ir.Value = op.RMSNormalization(x, scale, **attributes)
    else:
        value = op.LayerNormalization(x, scale, bias, **attributes)
    return value


def _scale(op: GraphBuilder, x: ir.Value, weight: ir.Value | None, offset: float) -> ir.Value:
    """Return weight + offset [N]; ones without a weight. The offset becomes part of a weight that is streamed."""
    if weight is None:
        return op.constant(np.ones(fixed_size(x, -1), dtype_of(x).numpy()))
    if not offset:
        return weight
    if isinstance(weight.const_value, WeightTensor):
        return op.initializer(weight.const_value.then(Offset(offset)))
    value: ir.Value = op.Add(weight, op.scalar(offset, dtype_of(x)))
    return value
