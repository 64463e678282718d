"""Products read float32 matrices as checkpoints store them, a row for each output.

A matrix that is turned while a plan is built costs more time there than all else that is done to it. A product that
turns it while it packs or reads it takes no longer than one that need not.
"""

from __future__ import annotations

import onnx_ir as ir

from archc.compiler.graph.nodes import only_reader, take_over
from archc.compiler.weights.lazy import WeightTensor
from archc.compiler.weights.uses import drop_unused, is_product, register, rows_of

_DOMAIN = "com.microsoft"


def rows_as_stored(model: ir.Model) -> int:
    """Makes Gemm or FusedMatMul of each MatMul with a transposed float32 matrix; returns how many."""
    graph = model.graph
    changed = 0
    for value in list(graph.initializers.values()):
        weight = value.const_value
        rows = rows_of(weight) if isinstance(weight, WeightTensor) and weight.dtype == ir.DataType.FLOAT else None
        if rows is None:
            continue
        for node, index in list(value.uses()):
            if is_product(node, index):
                node.replace_input_with(index, register(graph, rows))
                node.attributes["transB"] = ir.AttrInt64("transB", 1)
                _rename(node)
                changed += 1
    if changed:
        graph.opset_imports[_DOMAIN] = 1
        drop_unused(graph)
    return changed


def _rename(product: ir.Node) -> None:
    """Gemm takes activations of two axes, as an expert's tokens are, and adds their bias; FusedMatMul takes any."""
    x = product.inputs[0]
    if x is None or x.shape is None or len(x.shape) != 2:
        product.domain, product.op_type = _DOMAIN, "FusedMatMul"
        return
    product.op_type = "Gemm"
    result = product.outputs[0]
    addition = only_reader(result)
    if addition is None or addition.op_type != "Add":
        return
    bias = next((value for value in addition.inputs if value is not result), None)
    if bias is None or not bias.is_initializer() or bias.shape is None or len(bias.shape) != 1:
        return
    product.resize_inputs(3)
    product.replace_input_with(2, bias)
    take_over(addition.outputs[0], result)
    assert product.graph is not None
    product.graph.remove(addition, safe=True)
