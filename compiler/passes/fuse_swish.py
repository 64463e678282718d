"""Swish, x · sigmoid(βx), as one node that reads its input once (Ramachandran et al. 2017; SiLU where β is 1)."""

from __future__ import annotations

import onnx_ir as ir

from archc.compiler.graph.nodes import only_reader, take_over
from archc.compiler.weights.lazy import WeightTensor

MICROSOFT = "com.microsoft"


def fuse_swish(model: ir.Model) -> int:
    """Replaces a sigmoid and its product with its own input by ONNX Runtime's QuickGelu; returns how often."""
    sigmoids = [node for node in model.graph.all_nodes() if node.op_type == "Sigmoid"]
    fused = sum(map(_fuse, sigmoids))
    if fused:
        model.graph.opset_imports[MICROSOFT] = 1
    return fused


def _fuse(sigmoid: ir.Node) -> bool:
    inner, gate = sigmoid.inputs[0], sigmoid.outputs[0]
    product = only_reader(gate)
    if inner is None or product is None or product.op_type != "Mul" or product.graph is not sigmoid.graph:
        return False
    x = next((value for value in product.inputs if value is not gate), None)
    scaling = inner.producer()
    beta = 1.0 if x is inner else _factor(scaling, x)
    if x is None or beta is None:
        return False
    fused = ir.Node(MICROSOFT, "QuickGelu", [x], [ir.AttrFloat32("alpha", beta)], name=product.name)
    graph = product.graph
    assert graph is not None
    graph.insert_before(product, fused)
    take_over(product.outputs[0], fused.outputs[0])
    graph.remove([product, sigmoid], safe=True)
    if scaling is not None and x is not inner and not inner.uses() and not inner.is_graph_output():
        graph.remove(scaling, safe=True)
    return True


def _factor(node: ir.Node | None, x: ir.Value | None) -> float | None:
    """The constant that a node multiplies x by, where that is what it does."""
    if node is None or node.op_type != "Mul" or x not in node.inputs:
        return None
    constant = next((value.const_value for value in node.inputs if value is not None and value is not x), None)
    if constant is None or isinstance(constant, WeightTensor) or constant.size != 1:
        return None
    return float(constant.numpy().reshape(()))
