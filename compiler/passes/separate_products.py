"""Inputs of their own for products of dequantized weights that read one activation."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.values import required


class SeparateProducts(ir.passes.InPlacePass):
    """Halves the input of the second product of an activation and doubles its weights, and so on.

    TensorRT for RTX 1.7 joins products that read one activation, and for int8 weights fails to where the graph also
    repeats a body (`op->parent() == this`) or where layers share their weights (`_M_range_check`). Powers of two change
    no number.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Separate all products, if the graph is one of those that fail."""
        graph = model.graph
        readers: dict[ir.Value, list[ir.Node]] = {}
        for node in graph:
            if node.op_type == "MatMul" and _dequantizer(node) is not None:
                readers.setdefault(required(node.inputs[0]), []).append(node)
        weights = [_dequantizer(node) for nodes in readers.values() for node in nodes]
        shared = len(set(weights)) < len(weights)
        fails = shared or any(node.op_type == "Scan" for node in graph)
        modified = fails and any(len(nodes) > 1 for nodes in readers.values())
        if modified:
            _separate(graph, readers)
        return ir.passes.PassResult(model, modified=modified)


def _separate(graph: ir.Graph, readers: dict[ir.Value, list[ir.Node]]) -> None:
    doubled: dict[tuple[ir.Node, int], ir.Value] = {}
    for x, nodes in readers.items():
        for times, node in enumerate(nodes[1:], 1):
            old = _dequantizer(node)
            assert old is not None
            numbers, unit = map(required, old.inputs)
            assert unit.const_value is not None
            number = unit.const_value.numpy()
            op = GraphBuilder(graph, f"{node.name}.separate")
            node.replace_input_with(0, op.Mul(x, op.constant(np.array(2.0**-times, number.dtype))))
            graph.insert_before(node, op.nodes)
            if (old, times) not in doubled:
                op = GraphBuilder(graph, f"{old.name}.times_{2**times}")
                more = op.constant(np.array(number * 2**times, number.dtype))
                doubled[old, times] = op.DequantizeLinear(numbers, more)
                graph.insert_after(old, op.nodes)  # where it precedes all that read it
            node.replace_input_with(1, doubled[old, times])
    for old in {old for old, _ in doubled if not old.outputs[0].uses()}:
        graph.remove(old, safe=True)


def _dequantizer(product: ir.Node) -> ir.Node | None:
    """Return the DequantizeLinear of a product's weights, if they have one."""
    weights = product.inputs[1].producer() if product.inputs[1] is not None else None
    return weights if weights is not None and weights.op_type == "DequantizeLinear" else None
