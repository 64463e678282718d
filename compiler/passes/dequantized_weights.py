"""Weights of 8 or 4 bits behind a DequantizeLinear, which TensorRT draws into the product that reads them.

int8: a scale for each output. int4: a scale for each block of an output's inputs. Only plain products are changed: the
token table, a head that shares it, stacked experts, norms, biases and routers stay as they are.
"""

from __future__ import annotations

import onnx_ir as ir

from compiler.passes import Pass
from compiler.quantization import Bits, block_size
from compiler.signed_integers import Scheme, SignedScales, SignedValues
from compiler.weights import StackedWeight, Transposed, WeightTensor

# A router's few numbers choose what everything else is computed with.
_KEPT = ".router."


def dequantized_weights(bits: Bits) -> Pass:
    """A pass that stores every matrix of a plain product in `bits` bits; it counts them."""

    def run(model: ir.Model) -> int:
        return sum(_replace(model.graph, value, bits) for value in list(model.graph.initializers.values()))

    return run


def _replace(graph: ir.Graph, value: ir.Value, bits: Bits) -> bool:
    weight = value.const_value
    if not isinstance(weight, WeightTensor) or isinstance(weight, StackedWeight) or _KEPT in weight.slot:
        return False
    uses = list(value.uses())
    products = bool(uses) and all(node.op_type == "MatMul" and index == 1 for node, index in uses)
    if not products or len(weight.shape) != 2 or not weight.steps or not isinstance(weight.steps[-1], Transposed):
        return False
    columns, rows = map(int, weight.shape)
    block = block_size(columns) if bits == 4 else None
    if bits == 4 and (block is None or rows % 2):
        return False
    scheme = Scheme(bits, block)
    matrix = WeightTensor(weight.slot, (rows, columns), weight.dtype, weight.steps[:-1])
    integers, scales = (_register(graph, made) for made in (SignedValues(matrix, scheme), SignedScales(matrix, scheme)))
    attributes = [ir.AttrInt64("axis", 1)]
    if block is not None:
        attributes = [ir.AttrInt64("axis", 0), ir.AttrInt64("block_size", block)]
    node = ir.Node("", "DequantizeLinear", [integers, scales], attributes, name=f"{value.name}.dequantized")
    output = node.outputs[0]
    output.name, output.type, output.shape = node.name, ir.TensorType(weight.dtype), weight.shape
    first = min((use.node for use in uses), key=list(graph).index)
    graph.insert_before(first, node)
    ir.convenience.replace_all_uses_with(value, output)
    assert value.name is not None
    del graph.initializers[value.name]
    return True


def _register(graph: ir.Graph, tensor: WeightTensor) -> ir.Value:
    value = ir.Value(name=tensor.name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value
