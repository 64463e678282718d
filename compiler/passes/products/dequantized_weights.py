"""Weights of 8 or 4 bits behind a DequantizeLinear, which TensorRT draws into what reads them: a product or a look-up.

int4: a scale for each block of an output's inputs, a part of the DequantizeLinear. int8, fp8: a scale for each output,
of a table for each of its rows, by which the result is multiplied. TensorRT takes such scales before the product too,
but then it turns weights that are a stack back in memory, all of them at every call; with one number for all of them it
reads them as they are (TensorRT for RTX 1.7, by its own account of its memory).

A token table that the head shares is stored once, and read by both. Norms, biases, routers and what gives a single
number stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from archc.compiler.graph.nodes import Tape, take_over
from archc.compiler.passes import Pass
from archc.compiler.weights.lazy import StackedWeight, Transposed, WeightTensor
from archc.compiler.weights.quantization import block_size
from archc.compiler.weights.symmetric import Form, Scheme, SignedMatrix, SignedScales, SignedStack, SignedValues
from archc.compiler.weights.uses import is_lookup, is_product, is_router, is_shared_product, register


def dequantized_weights(form: Form) -> Pass:
    """A pass that stores every matrix of a product and every table in numbers of a form; it counts them."""

    def run(model: ir.Model) -> int:
        count = sum(_replace(model.graph, value, form) for value in list(model.graph.initializers.values()))
        if form != "int4":
            _part_products(model.graph)
        return count

    return run


def _replace(graph: ir.Graph, value: ir.Value, form: Form) -> bool:
    weight = value.const_value
    if not isinstance(weight, WeightTensor) or is_router(weight):
        return False
    uses = list(value.uses())
    made = None
    if uses and all(is_product(*use) for use in uses):
        made = _stack(graph, value, weight, form) if isinstance(weight, StackedWeight) else _matrix(graph, weight, form)
    elif uses and all(is_lookup(*use) or is_shared_product(*use) for use in uses):
        made = _table(graph, weight, form)
    if made is None:
        return False
    op = Tape(graph, f"{value.name}.dequantized")
    unit = op.constant(np.array(made.scheme.unit, weight.dtype.numpy()))
    scale = made.scales if made.scheme.block is not None else unit
    output = op("DequantizeLinear", made.numbers, scale, **dict[str, Any](made.attributes))
    output.type, output.shape = ir.TensorType(weight.dtype), weight.shape
    first = min((use.node for use in uses), key=list(graph).index)
    graph.insert_before(first, op.nodes)
    ir.convenience.replace_all_uses_with(value, output)
    assert value.name is not None
    del graph.initializers[value.name]
    for node, _ in uses:
        if made.scheme.block is None:
            _scale(graph, node, made.scales)
        if node.op_type == "Gemm":
            _as_one_batch(graph, node)
    return True


@dataclass(frozen=True)
class Made:
    """What takes a weight's place."""

    scheme: Scheme
    numbers: ir.Value
    scales: ir.Value
    attributes: Mapping[str, int] = field(default_factory=dict)


def _scale(graph: ir.Graph, node: ir.Node, scales: ir.Value) -> None:
    """Multiplies what a product or a look-up gives by the scales of its columns or rows."""
    old, readers = node.outputs[0], list(node.outputs[0].uses())
    op = Tape(graph, f"{node.name}.scaled")
    if node.op_type == "Gather":
        scales = op("Unsqueeze", op("Gather", scales, node.inputs[1], axis=0), op.integers(-1))
    y = op("Mul", old, scales)
    y.shape, y.type = old.shape, old.type
    graph.insert_after(node, op.nodes)
    for reader, index in readers:
        reader.replace_input_with(index, y)
    for index, output in enumerate(graph.outputs):
        if output is old:
            graph.outputs[index] = y
            y.name, old.name = old.name, y.name


def _matrix(graph: ir.Graph, weight: WeightTensor, form: Form) -> Made | None:
    """A transposed matrix [K, N] that rows are multiplied by."""
    if len(weight.shape) != 2 or not weight.steps or not isinstance(weight.steps[-1], Transposed):
        return None
    columns, rows = map(int, weight.shape)
    # A gate's one number, say: there is nothing to win, and TensorRT for RTX 1.7 fails where it joins such products.
    scheme = _scheme(form, columns, rows) if rows > 1 else None
    if scheme is None:
        return None
    matrix = SignedMatrix(WeightTensor(weight.slot, (rows, columns), weight.dtype, weight.steps[:-1]), scheme)
    return _made(graph, scheme, SignedValues(matrix), SignedScales(matrix), axis=0)


def _stack(graph: ir.Graph, value: ir.Value, weight: StackedWeight, form: Form) -> Made | None:
    """Transposed matrices [E, K, N], of which each has scales of its own."""
    if len(weight.shape) != 3 or not weight.steps or not isinstance(weight.steps[-1], Transposed):
        return None
    _, columns, rows = map(int, weight.shape)
    scheme = _scheme(form, columns, rows)
    if scheme is None:
        return None
    steps = weight.steps[:-1]
    weights = [WeightTensor(slot, (rows, columns), weight.dtype, steps) for slot in weight.slots]
    matrices = [SignedMatrix(each, scheme) for each in weights]
    values, scales = [SignedValues(each) for each in matrices], [SignedScales(each) for each in matrices]
    blocks = 1 if scheme.block is None else columns // scheme.block
    name = f"{value.name}.signed.{form}"
    stacks = SignedStack(name, values, (columns, rows)), SignedStack(f"{name}.scale", scales, (blocks, rows))
    return _made(graph, scheme, *stacks, axis=1)


def _table(graph: ir.Graph, weight: WeightTensor, form: Form) -> Made | None:
    """A table [N, K] whose rows are looked up."""
    if len(weight.shape) != 2 or isinstance(weight, StackedWeight):
        return None
    columns = int(weight.shape[1])
    scheme = _scheme(form, columns, columns)
    if scheme is None or block_size(columns) is None:
        return None
    matrix = SignedMatrix(weight, scheme, turned=False)
    return _made(graph, scheme, SignedValues(matrix), SignedScales(matrix), axis=1)


def _made(graph: ir.Graph, scheme: Scheme, numbers: WeightTensor, scales: WeightTensor, axis: int) -> Made:
    """`axis` is that of a matrix's inputs, along which blocks lie."""
    attributes = {} if scheme.block is None else {"axis": axis, "block_size": scheme.block}
    return Made(scheme, register(graph, numbers), register(graph, scales), attributes)


def _part_products(graph: ir.Graph) -> None:
    """Gives products that read one input inputs of their own: halved for the second and its weights doubled, and so on.

    TensorRT for RTX 1.7 makes one of them, and of 8 bits fails to where the graph also repeats a body
    (`op->parent() == this`) or where layers share their weights (`_M_range_check`). Powers of two change no number.
    """
    readers: dict[ir.Value, list[ir.Node]] = {}
    for node in graph:
        if node.op_type == "MatMul" and _dequantizer(node) is not None:
            assert node.inputs[0] is not None
            readers.setdefault(node.inputs[0], []).append(node)
    layers = [_dequantizer(node) for nodes in readers.values() for node in nodes]
    if len(set(layers)) == len(layers) and not any(node.op_type == "Scan" for node in graph):
        return
    doubled: dict[tuple[ir.Node, int], ir.Value] = {}
    for x, nodes in readers.items():
        for times, node in enumerate(nodes[1:], 1):
            old = _dequantizer(node)
            assert old is not None
            numbers, unit = old.inputs
            assert unit is not None
            assert unit.const_value is not None
            kind = unit.const_value.numpy().dtype
            op = Tape(graph, f"{node.name}.own")
            node.replace_input_with(0, op("Mul", x, op.constant(np.array(2.0**-times, kind))))
            graph.insert_before(node, op.nodes)
            if (old, times) not in doubled:
                op = Tape(graph, f"{old.name}.times_{2**times}")
                more = op.constant(np.array(unit.const_value.numpy() * 2**times, kind))
                doubled[old, times] = op("DequantizeLinear", numbers, more)
                graph.insert_after(old, op.nodes)  # where it comes before all that read it
            node.replace_input_with(1, doubled[old, times])
    for old in {old for old, _ in doubled if not old.outputs[0].uses()}:
        graph.remove(old, safe=True)


def _dequantizer(product: ir.Node) -> ir.Node | None:
    """What turns a product's weights back, where they are in fewer bits."""
    weights = product.inputs[1].producer() if product.inputs[1] is not None else None
    return weights if weights is not None and weights.op_type == "DequantizeLinear" else None


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
    graph.insert_before(node, op.nodes)
    take_over(node.outputs[0], y)
    graph.remove(node, safe=True)
