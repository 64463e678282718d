"""Weights of 8 or 4 bits behind a DequantizeLinear, which TensorRT draws into the product or the look-up that reads them.

int8, fp8: a scale for each output, of a table for each of its rows. int4: one for each block of an output's inputs. A
token table that the head shares is stored once, and read by both. Norms, biases and routers stay as they are, and so do
experts that are scanned: TensorRT takes slices of no other weights than its own floating-point ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx_ir as ir

from compiler.passes import Pass
from compiler.passes.nodes import Tape
from compiler.quantization import block_size
from compiler.signed_numbers import Form, Scheme, SignedScales, SignedStack, SignedValues
from compiler.weights import StackedWeight, Transposed, WeightTensor

# A router's few numbers choose what everything else is computed with.
_KEPT = ".router."


def dequantized_weights(form: Form) -> Pass:
    """A pass that stores every matrix of a product and every table in numbers of a form; it counts them."""

    def run(model: ir.Model) -> int:
        return sum(_replace(model.graph, value, form) for value in list(model.graph.initializers.values()))

    return run


def _replace(graph: ir.Graph, value: ir.Value, form: Form) -> bool:
    weight = value.const_value
    if not isinstance(weight, WeightTensor) or _KEPT in weight.slot:
        return False
    uses = list(value.uses())
    made = None
    if uses and all(_multiplies(node, index) for node, index in uses):
        made = _stack(graph, value, weight, form) if isinstance(weight, StackedWeight) else _matrix(graph, weight, form)
    elif uses and all(_reads_rows(node, index) for node, index in uses):
        made = _table(graph, weight, form)
    if made is None:
        return False
    inputs, attributes = made
    given = [ir.AttrInt64(name, number) for name, number in attributes.items()]
    node = ir.Node("", "DequantizeLinear", inputs, given, name=f"{value.name}.dequantized")
    output = node.outputs[0]
    output.name, output.type, output.shape = node.name, ir.TensorType(weight.dtype), weight.shape
    first = min((use.node for use in uses), key=list(graph).index)
    graph.insert_before(first, node)
    ir.convenience.replace_all_uses_with(value, output)
    assert value.name is not None
    del graph.initializers[value.name]
    for product in [use.node for use in uses if use.node.op_type == "Gemm"]:
        _as_one_batch(graph, product)
    return True


Made = tuple[list[ir.Value], Mapping[str, int]]


def _multiplies(node: ir.Node, index: int) -> bool:
    return node.op_type == "MatMul" and index == 1


def _reads_rows(node: ir.Node, index: int) -> bool:
    """Whether a node looks rows up, or multiplies by all of them as they lie."""
    if node.op_type == "Gather":
        return index == 0 and node.attributes.get_int("axis", 0) == 0
    plain = {"transA": 0, "transB": 1, "alpha": 1.0, "beta": 1.0}
    given = {name: attribute.value for name, attribute in node.attributes.items()}
    shared = node.op_type == "Gemm" and index == 1 and len(node.inputs) == 2
    return shared and given.get("transB") == 1 and {**plain, **given} == plain


def _matrix(graph: ir.Graph, weight: WeightTensor, form: Form) -> Made | None:
    """A transposed matrix [K, N] that rows are multiplied by."""
    if len(weight.shape) != 2 or not weight.steps or not isinstance(weight.steps[-1], Transposed):
        return None
    columns, rows = map(int, weight.shape)
    scheme = _scheme(form, columns, rows)
    if scheme is None:
        return None
    matrix = WeightTensor(weight.slot, (rows, columns), weight.dtype, weight.steps[:-1])
    inputs = _registered(graph, SignedValues(matrix, scheme), SignedScales(matrix, scheme))
    return inputs, {"axis": 1} if scheme.block is None else {"axis": 0, "block_size": scheme.block}


def _stack(graph: ir.Graph, value: ir.Value, weight: StackedWeight, form: Form) -> Made | None:
    """Transposed matrices [E, K, N], of which each has scales of its own: in blocks, of whole columns for 8 bits."""
    if len(weight.shape) != 3 or not weight.steps or not isinstance(weight.steps[-1], Transposed):
        return None
    _, columns, rows = map(int, weight.shape)
    scheme = _scheme(form, columns, rows)
    if scheme is None:
        return None
    steps = weight.steps[:-1]
    matrices = [WeightTensor(slot, (rows, columns), weight.dtype, steps) for slot in weight.slots]
    block = scheme.block or columns
    values, scales = (
        SignedStack(f"{value.name}.{name}", [kind(matrix, scheme) for matrix in matrices], shape)
        for name, kind, shape in (
            (f"signed.{form}", _VALUES, (columns, rows)),
            (f"signed.{form}.scale", _SCALES, (columns // block, rows)),
        )
    )
    return _registered(graph, values, scales), {"axis": 1, "block_size": block}


def _table(graph: ir.Graph, weight: WeightTensor, form: Form) -> Made | None:
    """A table [N, K] whose rows are looked up."""
    if len(weight.shape) != 2 or isinstance(weight, StackedWeight):
        return None
    rows, columns = map(int, weight.shape)
    scheme = _scheme(form, columns, columns)
    if scheme is None or block_size(columns) is None:
        return None
    inputs = _registered(graph, SignedValues(weight, scheme, turned=False), SignedScales(weight, scheme, turned=False))
    return inputs, {"axis": 0} if scheme.block is None else {"axis": 1, "block_size": scheme.block}


_VALUES: Callable[[WeightTensor, Scheme], SignedValues] = SignedValues
_SCALES: Callable[[WeightTensor, Scheme], SignedScales] = SignedScales


def _scheme(form: Form, columns: int, packed: int) -> Scheme | None:
    """How numbers become integers; None where blocks do not fit, or `packed` of them make no whole bytes."""
    if form != "int4":
        return Scheme(form, None)
    block = block_size(columns)
    return None if block is None or packed % 2 else Scheme(form, block)


def _as_one_batch(graph: ir.Graph, node: ir.Node) -> None:
    """A product by a table as it lies, spelled so that TensorRT reads the integers that the look-up reads.

    For a Gemm, or a MatMul of two matrices, TensorRT for RTX 1.7 stores them once more, transposed.
    """
    x, table = node.inputs
    assert table is not None
    assert table.shape is not None
    rows, columns = map(int, table.shape)
    op = Tape(graph, f"{node.name}.batch")
    turned = op("Transpose", table, perm=[1, 0])
    product = op("MatMul", op("Reshape", x, op.integers(1, -1, columns)), turned)
    y = op("Reshape", product, op.integers(-1, rows), allowzero=1)
    y.shape, y.type = node.outputs[0].shape, node.outputs[0].type
    graph.insert_before(node, op.nodes)
    ir.convenience.replace_all_uses_with(node.outputs[0], y, replace_graph_outputs=True)
    graph.remove(node, safe=True)


def _registered(graph: ir.Graph, *tensors: WeightTensor) -> list[ir.Value]:
    values = []
    for tensor in tensors:
        value = ir.Value(name=tensor.name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
        graph.register_initializer(value)
        values.append(value)
    return values
