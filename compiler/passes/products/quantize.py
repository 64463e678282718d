"""Products with weights of 8 or 4 bits, in the forms that ONNX Runtime's providers have kernels for.

CPU: int4 is MatMulNBits, integers and a scale for each 128 columns of a row, and int8 is DynamicQuantizeMatMul, a scale
for each output, and activations that are quantised as they come. CUDA: both are MatMulNBits. The token table and the
head are stored once, in blocks, and read by GatherBlockQuantized and MatMulNBits. Norms, biases, convolutions and the
routers of experts stay as they are, and so do experts that are scanned.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from archc.compiler.graph.nodes import Tape, take_over
from archc.compiler.ops.experts import PERHAPS_EMPTY
from archc.compiler.passes import Pass
from archc.compiler.passes.products.even_rows import even_rows, has_even_rows
from archc.compiler.weights.lazy import WeightTensor
from archc.compiler.weights.quantization import (
    Bits,
    Blocks,
    BlockScales,
    BlockValues,
    ColumnScales,
    ColumnValues,
    block_size,
)
from archc.compiler.weights.uses import is_lookup, is_product, is_router, is_shared_product, register, rows_of

MICROSOFT = "com.microsoft"


@dataclass(frozen=True)
class Kernels:
    """What a provider's kernels take: whether integers of 8 bits with a scale for each output, whether a product's
    kernel adds a bias, the precision of MatMulNBits, the floating-point types beside the integers, and whether scales
    of 4-bit blocks are to be what `choose_product_form` needs them to be."""

    columns: bool
    bias: bool
    accuracy_level: int
    dtypes: frozenset[ir.DataType]
    in_units: bool


# On the CPU activations are quantised to int8 inside the product: the fast kernels, at an error below the weights' own.
CPU = Kernels(True, True, 4, frozenset({ir.DataType.FLOAT}), True)
CUDA = Kernels(False, False, 0, frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16}), False)


def quantize(bits: Bits, kernels: Kernels = CPU) -> Pass:
    """A pass that stores every matrix that tokens are multiplied with in `bits` bits; it counts them."""

    def run(model: ir.Model) -> int:
        graph = model.graph
        changed = 0
        for value in list(graph.initializers.values()):
            weight = value.const_value
            if isinstance(weight, WeightTensor) and weight.dtype in kernels.dtypes and not is_router(weight):
                changed += _quantize(graph, value, weight, bits, kernels)
        if changed:
            graph.opset_imports[MICROSOFT] = 1
        return changed

    return run


def _quantize(graph: ir.Graph, value: ir.Value, weight: WeightTensor, bits: Bits, kernels: Kernels) -> int:
    """Replaces one initializer and its readers, where every reader has a form for fewer bits."""
    uses = list(value.uses())
    if len(weight.shape) != 2 or not uses:
        return 0
    if not all(is_product(*use) or is_shared_product(*use) or is_lookup(*use) for use in uses):
        return 0
    rows = weight if all(node.op_type != "MatMul" for node, _ in uses) else rows_of(weight)
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
        in_units = kernels.in_units and bits == 4 and not table
        _in_blocks(graph, [node for node, _ in uses], Blocks(rows, bits, block, in_units), kernels)
    assert value.name is not None
    del graph.initializers[value.name]
    return 1


def _in_columns(graph: ir.Graph, nodes: list[ir.Node], rows: WeightTensor) -> None:
    scales, values = register(graph, ColumnScales(rows)), register(graph, ColumnValues(rows))
    for node in nodes:
        x = node.inputs[0]
        assert x is not None
        if has_even_rows(x):
            last, bias = _bias_of(node)
            inputs = [x, values, scales] if bias is None else [x, values, scales, None, bias]
            product = ir.Node(MICROSOFT, "DynamicQuantizeMatMul", inputs, name=node.name)
            _replace(graph, node, [product], product.outputs[0], last)
            continue
        op = Tape(graph, node.name)
        even, sizes = even_rows(op, x, PERHAPS_EMPTY in node.metadata_props)
        product = op("DynamicQuantizeMatMul", even, values, scales, domain=MICROSOFT)
        result = op("Mul", product, sizes)
        _replace(graph, node, op.nodes, result)


def _in_blocks(graph: ir.Graph, nodes: list[ir.Node], blocks: Blocks, kernels: Kernels) -> None:
    values, scales = register(graph, BlockValues(blocks)), register(graph, BlockScales(blocks))
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
        product.metadata_props.update(node.metadata_props)
        _replace(graph, node, [product], product.outputs[0], last)


def _look_up(graph: ir.Graph, node: ir.Node, blocks: Blocks, values: ir.Value, scales: ir.Value) -> None:
    """Rows of the table by id: [..., K/block, block], then [..., K]."""
    sizes = {"gather_axis": 0, "quantize_axis": 2, "block_size": blocks.block, "bits": blocks.bits}
    op = Tape(graph, node.name)
    scale = op("Unsqueeze", scales, op.integers(-1))
    rows = op("GatherBlockQuantized", values, node.inputs[1], scale, domain=MICROSOFT, **sizes)
    rows.type = ir.TensorType(blocks.weight.dtype)
    row = op("Reshape", rows, op.integers(0, 0, -1))
    _replace(graph, node, op.nodes, row)


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
    graph.insert_before(node, new)
    take_over((last or node).outputs[0], result)
    if last is not None and last is not node:
        graph.remove(last, safe=True)
    graph.remove(node, safe=True)
