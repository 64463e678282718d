"""Products with weights of 4 bits in the form that costs less for the call.

For a few rows, MatMulNBits reads 4 bits a weight, and reading is what takes the time. For many rows arithmetic is, and
8-bit products have instructions several times as fast: there the weights of a call are unpacked to int8 first, exactly,
since the scales of a row's blocks are whole multiples of one unit. An If on the number of rows chooses; both of its
branches read the same 4-bit weights, and the unpacked ones are gone after the product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from archc.compiler.graph.nodes import Tape, take_over
from archc.compiler.ops.experts import PERHAPS_EMPTY
from archc.compiler.passes.products.even_rows import even_rows, has_even_rows
from archc.compiler.weights.lazy import JoinedRows, WeightTensor
from archc.compiler.weights.quantization import BlockCounts, Blocks, BlockUnits, BlockValues
from archc.compiler.weights.uses import register

MICROSOFT = "com.microsoft"
# Unpacking costs as much as it wins at about 130 rows with AMX; other processors win less a row.
MANY_ROWS = 256
# Each form is a graph that a session has to prepare: it takes longer to load than smaller matrices win.
_WORTH_IT = 2**19


def choose_product_form(model: ir.Model, least: int = _WORTH_IT) -> int:
    """Puts products that read one activation under an If with both of their forms; returns how many there were.

    `least` is how many weights they must have together.
    """
    graph = model.graph
    groups: dict[ir.Value, list[ir.Node]] = {}
    for node in graph:
        # An expert's tokens are few, and there are many experts.
        if _is_in_units(node) and PERHAPS_EMPTY not in node.metadata_props:
            x = node.inputs[0]
            assert x is not None
            groups.setdefault(x, []).append(node)
    worthy = {x: products for x, products in groups.items() if sum(map(_size, products)) >= least}
    if worthy:
        choice = _count_rows(graph, *next(iter(worthy.items())))
        for x, products in worthy.items():
            _choose(graph, x, products, choice)
    return sum(map(len, worthy.values()))


def _size(product: ir.Node) -> int:
    return product.attributes["K"].as_int() * product.attributes["N"].as_int()


def _is_in_units(node: ir.Node) -> bool:
    return node.op_type == "MatMulNBits" and all(matrix.in_units for matrix in _matrices(node))


def _matrices(product: ir.Node) -> list[Blocks]:
    """The matrices whose rows a product multiplies with, one after another."""
    values = product.inputs[1].const_value if product.inputs[1] is not None else None
    assert isinstance(values, WeightTensor)
    return [part.matrix for part in values.in_parts() if isinstance(part, BlockValues)]


@dataclass(frozen=True)
class _Choice:
    """Whether the call has many rows, and by how much bytes are shifted then."""

    many: ir.Value
    shift: ir.Value


def _count_rows(graph: ir.Graph, x: ir.Value, products: Sequence[ir.Node]) -> _Choice:
    """Made once, at the first products: the others of a graph read as many rows, and either form would be right."""
    op = Tape(graph, "product_forms")
    many = op("GreaterOrEqual", op("Size", x), op.constant(np.array(MANY_ROWS * products[0].attributes["K"].as_int())))
    # By an amount that is known only at run time: of constants alone, an optimizer would unpack all weights at once.
    shift = op("Mul", op("Cast", many, to=ir.DataType.UINT8.value), op.constant(np.array(4, np.uint8)))
    graph.insert_before(products[0], op.nodes)
    return _Choice(many, shift)


def _choose(graph: ir.Graph, x: ir.Value, products: Sequence[ir.Node], choice: _Choice) -> None:
    name = products[0].name
    results = [product.outputs[0] for product in products]
    op = Tape(graph, f"{name}.unpacked")
    even, sizes = (x, None) if has_even_rows(x) else even_rows(op, x)
    unpacked = [_unpacked(op, product, choice.shift, even, sizes) for product in products]
    for made, result in zip(unpacked, results, strict=True):
        made.type, made.shape = result.type, result.shape
    branch = ir.Graph([], unpacked, nodes=op.nodes, name=op.name)

    attributes = [ir.AttrGraph("then_branch", branch)]
    forms = ir.Node("", "If", [choice.many], attributes, num_outputs=len(products), name=f"{name}.form")
    graph.insert_after(products[0], forms)
    for chosen, result in zip(forms.outputs, results, strict=True):
        take_over(result, chosen)
        result.name = f"{chosen.name}.packed"
    graph.remove(products)
    packed = ir.Graph([], results, nodes=products, name=f"{name}.packed")
    forms.attributes.add(ir.AttrGraph("else_branch", packed))


def _unpacked(op: Tape, product: ir.Node, shift: ir.Value, even: ir.Value, sizes: ir.Value | None) -> ir.Value:
    """x · Wᵀ + bias, with Wᵀ as int8 [K, N]."""
    values, matrices = product.inputs[1], _matrices(product)
    units = register(op.graph, JoinedRows([BlockUnits(matrix) for matrix in matrices]))
    counts = register(op.graph, JoinedRows([BlockCounts(matrix) for matrix in matrices]))
    bias = product.inputs[5] if len(product.inputs) > 5 else None
    rows, columns, block = (product.attributes[name].as_int() for name in ("N", "K", "block_size"))
    # A byte holds two neighbours of a row, the first in its low half. Elementwise operators on bytes are fast but for
    # the shift and the bitwise ones, so the low half is what is left once the high one is taken away.
    high = op("BitShift", values, shift, direction="RIGHT")
    low = op("Sub", values, op("Mul", high, op.constant(np.array(16, np.uint8))))
    halves = op("Reshape", op("Concat", low, high, axis=0), op.integers(2, rows, columns // block, block // 2))
    signed = op("Sub", op("Cast", halves, to=ir.DataType.INT8.value), op.constant(np.array(8, np.int8)))
    pairs = op("Reshape", op("Mul", signed, counts), op.integers(2 * rows, columns // 2))
    # [K/2, 2N]: two rows of Wᵀ are one after the other.
    weight = op("Reshape", op("Transpose", pairs, perm=[1, 0]), op.integers(columns, rows))
    if sizes is None:
        inputs = (even, weight, units) if bias is None else (even, weight, units, None, bias)
        return op("DynamicQuantizeMatMul", *inputs, domain=MICROSOFT)
    result = op("Mul", op("DynamicQuantizeMatMul", even, weight, units, domain=MICROSOFT), sizes)
    return result if bias is None else op("Add", result, bias)
