"""Products with weights of 8 or 4 bits, in the forms that ONNX Runtime's providers have kernels for.

CPU: int4 is MatMulNBits, integers and a scale for each 128 columns of a row, and int8 is DynamicQuantizeMatMul, a scale
for each output, and activations that are quantised as they come. CUDA: both are MatMulNBits. The token table and the
head are stored once, in blocks, and read by GatherBlockQuantized and MatMulNBits. Norms, biases, convolutions and the
routers of experts stay as they are, and so do experts that are scanned.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from compiler.mixture import PERHAPS_EMPTY
from compiler.passes import Pass
from compiler.quantization import Bits, Blocks, BlockScales, BlockValues, ColumnScales, ColumnValues, block_size
from compiler.weights import Transposed, WeightTensor

MICROSOFT = "com.microsoft"
# A router's few numbers choose what everything else is computed with.
_KEPT = ".router."
_NORMS = ("RMSNormalization", "LayerNormalization", "SkipSimplifiedLayerNormalization", "SkipLayerNormalization")


@dataclass(frozen=True)
class Kernels:
    """What a provider's kernels take: whether integers of 8 bits with a scale for each output, whether a product's
    kernel adds a bias, the precision of MatMulNBits, and the floating-point types beside the integers."""

    columns: bool
    bias: bool
    accuracy_level: int
    dtypes: frozenset[ir.DataType]


# On the CPU activations are quantised to int8 inside the product: the fast kernels, at an error below the weights' own.
CPU = Kernels(True, True, 4, frozenset({ir.DataType.FLOAT}))
CUDA = Kernels(False, False, 0, frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16}))


def quantize(bits: Bits, kernels: Kernels = CPU) -> Pass:
    """A pass that stores every matrix that tokens are multiplied with in `bits` bits; it counts them."""

    def run(model: ir.Model) -> int:
        graph = model.graph
        changed = 0
        for value in list(graph.initializers.values()):
            weight = value.const_value
            if isinstance(weight, WeightTensor) and weight.dtype in kernels.dtypes and _KEPT not in weight.slot:
                changed += _quantize(graph, value, weight, bits, kernels)
        if changed:
            graph.opset_imports[MICROSOFT] = 1
        return changed

    return run


def _quantize(graph: ir.Graph, value: ir.Value, weight: WeightTensor, bits: Bits, kernels: Kernels) -> int:
    """Replaces one initializer and its readers, where every reader has a form for fewer bits."""
    products = {"MatMul": _is_product, "Gemm": _is_shared_product, "Gather": _is_lookup}
    uses = list(value.uses())
    if len(weight.shape) != 2 or not uses:
        return 0
    if not all(node.op_type in products and products[node.op_type](node, index) for node, index in uses):
        return 0
    rows = weight if all(node.op_type != "MatMul" for node, _ in uses) else _rows_of(weight)
    if rows is None:
        return 0
    table = any(node.op_type == "Gather" for node, _ in uses)
    block = block_size(int(rows.shape[1]))
    columns = bits == 8 and kernels.columns and not table and weight is not rows
    if block is None and not columns:
        return 0
    if columns:
        _in_columns(graph, [node for node, _ in uses], rows)
    else:
        assert block is not None
        _in_blocks(graph, [node for node, _ in uses], Blocks(rows, bits, block), kernels)
    assert value.name is not None
    del graph.initializers[value.name]
    return 1


def _rows_of(weight: WeightTensor) -> WeightTensor | None:
    """A transposed matrix before it was transposed: a row for each output."""
    if not weight.steps or not isinstance(weight.steps[-1], Transposed):
        return None
    shape = tuple(int(size) for size in weight.shape)[::-1]
    return WeightTensor(weight.slot, shape, weight.dtype, weight.steps[:-1])


def _is_product(node: ir.Node, index: int) -> bool:
    return index == 1


def _is_shared_product(node: ir.Node, index: int) -> bool:
    plain = {"transA": 0, "transB": 1, "alpha": 1.0, "beta": 1.0}
    given = {name: attribute.value for name, attribute in node.attributes.items()}
    return index == 1 and len(node.inputs) == 2 and {**plain, **given} == plain and given.get("transB") == 1


def _is_lookup(node: ir.Node, index: int) -> bool:
    return index == 0 and node.attributes.get_int("axis", 0) == 0


def _in_columns(graph: ir.Graph, nodes: list[ir.Node], rows: WeightTensor) -> None:
    scales, values = _register(graph, ColumnScales(rows)), _register(graph, ColumnValues(rows))
    for node in nodes:
        x = node.inputs[0]
        assert x is not None
        maker = x.producer()
        if maker is not None and maker.op_type in _NORMS:
            last, bias = _bias_of(node)
            inputs = [x, values, scales] if bias is None else [x, values, scales, None, bias]
            product = ir.Node(MICROSOFT, "DynamicQuantizeMatMul", inputs, name=node.name)
            _replace(graph, node, [product], product.outputs[0], last)
            continue
        # One scale serves all rows of a call: a token of great magnitude (a first token often has one) would leave the
        # others no integers but zero. After a norm rows are alike; elsewhere each is brought to magnitude one.
        size = ir.Node("", "Abs", [x], name=f"{node.name}.size")
        largest = _largest(graph, size.outputs[0], node)
        # Not zero, which a row of zeros would be divided by.
        floor = _constant(graph, np.finfo(np.float32).tiny)
        least = ir.Node("", "Max", [largest.outputs[0], floor], name=f"{node.name}.least")
        even = ir.Node("", "Div", [x, least.outputs[0]], name=f"{node.name}.even")
        product = ir.Node(MICROSOFT, "DynamicQuantizeMatMul", [even.outputs[0], values, scales], name=node.name)
        result = ir.Node("", "Mul", [product.outputs[0], least.outputs[0]], name=f"{node.name}.scaled")
        _replace(graph, node, [size, largest, least, even, product, result], result.outputs[0])


def _largest(graph: ir.Graph, x: ir.Value, node: ir.Node) -> ir.Node:
    """The largest number of each row of what a product reads, as a column."""
    name = f"{node.name}.largest"
    if PERHAPS_EMPTY in node.metadata_props:
        # ONNX Runtime's reductions give no rows their old width instead of one column.
        return ir.Node("", "TopK", [x, _constant(graph, [1])], [ir.AttrInt64("axis", -1)], num_outputs=2, name=name)
    return ir.Node("", "ReduceMax", [x, _constant(graph, [-1])], name=name)


def _in_blocks(graph: ir.Graph, nodes: list[ir.Node], blocks: Blocks, kernels: Kernels) -> None:
    values, scales = _register(graph, BlockValues(blocks)), _register(graph, BlockScales(blocks))
    outputs, columns = map(int, blocks.weight.shape)
    for node in nodes:
        if node.op_type == "Gather":
            _look_up(graph, node, blocks, values, scales)
            continue
        sizes = {"K": columns, "N": outputs, "bits": blocks.bits, "block_size": blocks.block}
        attributes = [ir.AttrInt64(k, v) for k, v in {**sizes, "accuracy_level": kernels.accuracy_level}.items()]
        last, bias = _bias_of(node) if kernels.bias else (None, None)
        inputs = [node.inputs[0], values, scales]
        inputs += [] if bias is None else [None, None, bias]
        product = ir.Node(MICROSOFT, "MatMulNBits", inputs, attributes, name=node.name)
        _replace(graph, node, [product], product.outputs[0], last)


def _look_up(graph: ir.Graph, node: ir.Node, blocks: Blocks, values: ir.Value, scales: ir.Value) -> None:
    """Rows of the table by id: [..., K/block, block], then [..., K]."""
    sizes = {"gather_axis": 0, "quantize_axis": 2, "block_size": blocks.block, "bits": blocks.bits}
    last, row = _constant(graph, [-1]), _constant(graph, [0, 0, -1])
    scale = ir.Node("", "Unsqueeze", [scales, last], name=f"{node.name}.scales")
    attributes = [ir.AttrInt64(name, size) for name, size in sizes.items()]
    inputs = [values, node.inputs[1], scale.outputs[0]]
    gather = ir.Node(MICROSOFT, "GatherBlockQuantized", inputs, attributes, name=node.name)
    gather.outputs[0].type = ir.TensorType(blocks.weight.dtype)
    reshape = ir.Node("", "Reshape", [gather.outputs[0], row], name=f"{node.name}.row")
    _replace(graph, node, [scale, gather, reshape], reshape.outputs[0])


def _bias_of(node: ir.Node) -> tuple[ir.Node, ir.Value | None]:
    """The addition of a bias that follows a product, and that bias, which the product's own kernel can add."""
    uses = list(node.outputs[0].uses())
    if len(uses) == 1 and uses[0].node.op_type == "Add":
        other = uses[0].node.inputs[1 - uses[0].idx]
        if other is not None and isinstance(other.const_value, WeightTensor) and len(other.const_value.shape) == 1:
            return uses[0].node, other
    return node, None


def _replace(graph: ir.Graph, node: ir.Node, new: list[ir.Node], result: ir.Value, last: ir.Node | None = None) -> None:
    """New nodes in place of one, or of one and the `last` that reads it."""
    for made in new:
        for index, output in enumerate(made.outputs):
            output.name = output.name or f"{made.name}.{made.op_type}.{index}"
    old = (last or node).outputs[0]
    result.shape, result.type = old.shape, old.type
    graph.insert_before(node, new)
    ir.convenience.replace_all_uses_with(old, result, replace_graph_outputs=True)
    result.name, old.name = old.name, None
    if last is not None and last is not node:
        graph.remove(last, safe=True)
    graph.remove(node, safe=True)


def _register(graph: ir.Graph, tensor: WeightTensor) -> ir.Value:
    value = ir.Value(name=tensor.name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


def _constant(graph: ir.Graph, numbers: list[int] | np.float32) -> ir.Value:
    name = f"quantize.{'_'.join(map(str, numbers)) if isinstance(numbers, list) else numbers}"
    if name not in graph.initializers:
        tensor = ir.tensor(np.array(numbers, np.int64 if isinstance(numbers, list) else np.float32), name=name)
        graph.register_initializer(
            ir.Value(name=name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
        )
    return graph.initializers[name]
