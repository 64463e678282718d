"""Boolean masks as numbers to add to scores, in graphs that also repeat a body.

Where TensorRT's compiler builds an attention from primitive layers beside a loop, it can fail on the mask's booleans; a
mask to add builds, and fused attention takes it as well.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compiler.passes.nodes import Tape


def add_masks(model: ir.Model) -> int:
    """Replaces the boolean mask of every Attention where there is a Scan; returns how many nodes read one."""
    graph = model.graph
    if not any(node.op_type == "Scan" for node in graph):
        return 0
    added: dict[ir.Value, ir.Value] = {}
    changed = 0
    for node in list(graph):
        mask = node.inputs[3] if node.op_type == "Attention" and not node.domain else None
        if mask is None or mask.dtype != ir.DataType.BOOL:
            continue
        if mask not in added:
            added[mask] = _numbers(graph, node, mask)
        node.replace_input_with(3, added[mask])
        changed += 1
    return changed


def _numbers(graph: ir.Graph, node: ir.Node, mask: ir.Value) -> ir.Value:
    """Zero where a key is seen and the lowest number where not; not −∞, for a row that sees nothing stays a number."""
    assert node.inputs[0] is not None
    dtype = node.inputs[0].dtype
    assert dtype is not None
    kind = dtype.numpy()
    op = Tape(graph, f"{node.name}.mask")
    zero, lowest = (op.constant(np.array(number, kind)) for number in (0, dtype.min))
    result: ir.Value = op("Where", mask, zero, lowest)
    result.type, result.shape = ir.TensorType(dtype), mask.shape
    graph.insert_before(node, op.nodes)
    return result
