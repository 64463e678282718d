"""Heads of a size that a runtime's fused attention lacks, padded with zeros to one that it has.

TensorRT fuses attention in 16 bits for head sizes that are multiples of 8 from 16 to 256, can build those above from
primitive layers, and fails on most others; its values must be as wide as its keys. Zeros in queries and keys add
nothing to a score, and the columns that zeros in the values give are cut off again.
"""

from __future__ import annotations

import onnx_ir as ir

from archc.compiler.graph.nodes import Tape

_STEP, _LEAST = 8, 16


def pad_heads(model: ir.Model) -> int:
    """Pads the inputs of every Attention node whose head sizes need it; returns how many nodes did."""
    graph = model.graph
    nodes = [node for node in graph if node.op_type == "Attention" and not node.domain]
    return sum(_pad(graph, node) for node in nodes)


def _pad(graph: ir.Graph, node: ir.Node) -> bool:
    width, value_width = (_width(node, index) for index in (1, 2))
    wanted = max(_LEAST, -(-max(width, value_width) // _STEP) * _STEP)
    if width == value_width == wanted:
        return False
    op = Tape(graph, f"{node.name}.padded")
    for index in range(3):
        value = node.inputs[index]
        missing = wanted - _width(node, index)
        if missing:
            # How many before and after, along the last axis.
            padded = op("Pad", value, op.integers(0, missing), None, op.integers(-1))
            assert value is not None
            assert value.shape is not None
            padded.type, padded.shape = value.type, ir.Shape([*value.shape[:3], wanted])
            node.replace_input_with(index, padded)
    graph.insert_before(node, op.nodes)
    if value_width != wanted:
        _cut(graph, node, value_width, wanted)
    return True


def _cut(graph: ir.Graph, node: ir.Node, width: int, wanted: int) -> None:
    """The first `width` of a node's `wanted` columns, in their place."""
    whole = node.outputs[0]
    op = Tape(graph, f"{node.name}.cut")
    part = op("Slice", whole, op.integers(0), op.integers(width), op.integers(3))
    part.type, part.shape = whole.type, whole.shape
    ir.convenience.replace_all_uses_with(whole, part, replace_graph_outputs=True)
    part.producer().replace_input_with(0, whole)
    assert whole.shape is not None
    whole.shape = ir.Shape([*whole.shape[:3], wanted])
    graph.insert_after(node, op.nodes)


def _width(node: ir.Node, index: int) -> int:
    value = node.inputs[index]
    assert value is not None
    assert value.shape is not None
    size = value.shape[3]
    assert isinstance(size, int), f"{node.name}: {value.name} has no fixed head size"
    return size
