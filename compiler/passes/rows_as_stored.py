"""Products read float32 matrices as checkpoints store them, a row for each output.

A matrix that is turned while a plan is built costs more time there than all else that is done to it. A product that
turns it while it packs or reads it takes no longer than one that need not.
"""

from __future__ import annotations

import onnx_ir as ir

from compiler.passes.weight_uses import drop_unused, is_product, register, rows_of
from compiler.weights import WeightTensor

_DOMAIN = "com.microsoft"


def rows_as_stored(model: ir.Model) -> int:
    """Makes FusedMatMul of each MatMul with a transposed float32 matrix; returns how many."""
    graph = model.graph
    changed = 0
    for value in list(graph.initializers.values()):
        weight = value.const_value
        rows = rows_of(weight) if isinstance(weight, WeightTensor) and weight.dtype == ir.DataType.FLOAT else None
        if rows is None:
            continue
        for node, index in list(value.uses()):
            if not is_product(node, index):
                continue
            node.domain, node.op_type = _DOMAIN, "FusedMatMul"
            node.attributes["transB"] = ir.AttrInt64("transB", 1)
            node.replace_input_with(index, register(graph, rows))
            changed += 1
    if changed:
        graph.opset_imports[_DOMAIN] = 1
        drop_unused(graph)
    return changed
