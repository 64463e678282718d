"""Products with int4 weights in the form that costs less for the call.

For a few rows, MatMulNBits reads 4 bits a weight, and reading takes the time. For many rows arithmetic does, and int8
products have instructions several times as fast: there the weights of a call are unpacked to int8 first, exactly,
because the scales of a row's blocks are whole multiples of one row scale. An If on the number of rows chooses; both of
its branches read the same int4 weights, and the unpacked ones are freed after the product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.domains import ARCHC
from archc.compiler.graph.values import replace_value, required
from archc.compiler.lowerings.driver import Lowering, Results
from archc.compiler.lowerings.linear.portable import bias_of
from archc.compiler.lowerings.linear.quantized import CPU, BlockWeight, QuantizedWeights
from archc.compiler.lowerings.linear.quantized_rows import QuantizedRows, integer_product, may_be_empty, quantize_rows
from archc.compiler.weights.formats.stored_blocks import FindGroups

# Unpacking costs as much as it saves at about 130 rows with AMX; other processors save less a row.
MANY_ROWS = 256
# Each form is a graph that a session has to prepare: that takes longer to load than smaller matrices save.
_WORTH_IT = 2**19


@dataclass(frozen=True)
class _Choice:
    """The condition that a call has many rows, and the bits by which bytes are shifted then."""

    many: ir.Value
    shift: ir.Value


class Int4Products(QuantizedWeights):
    """Lowers products with int4 weights on the CPU; all that read one activation are under one If."""

    def __init__(
        self, otherwise: Lowering, least: int = _WORTH_IT, find_groups: FindGroups = lambda slot: None
    ) -> None:
        super().__init__(4, CPU, otherwise, find_groups)
        self.least = least
        self._choices: dict[ir.Graph, _Choice] = {}

    def linear(self, node: ir.Node, op: GraphBuilder) -> Results:
        """Lower `archc.Linear`, with the other products of its activation if they are in two forms."""
        x = required(node.inputs[0])
        products = self._products(op, x, node)
        if node not in products or sum(_size(blocks) for blocks in products.values()) < self.least:
            return super().linear(node, op)
        if op.graph not in self._choices:
            self._choices[op.graph] = _count_rows(op, x, next(iter(products.values())))
        choice = self._choices[op.graph]

        packed, unpacked = op.nested("packed"), op.nested("unpacked")
        few = [self.block_product(product, packed, blocks) for product, blocks in products.items()]
        rows = quantize_rows(unpacked, x, computed=True)
        many = [unpacked_product(product, unpacked, blocks, choice.shift, rows) for product, blocks in products.items()]
        for product, *results in zip(products, few, many, strict=True):
            for result in results:
                result.type, result.shape = product.outputs[0].type, product.outputs[0].shape
        branches = {"then_branch": unpacked.subgraph(many), "else_branch": packed.subgraph(few)}
        chosen = op.If(choice.many, outputs=len(products), **branches)
        results = [chosen] if len(products) == 1 else list(chosen)
        return _replace_others(node, list(products), results)

    def _products(self, op: GraphBuilder, x: ir.Value, node: ir.Node) -> dict[ir.Node, BlockWeight]:
        """Return the products of an activation that have two forms, with their weights, in the order of the graph."""
        if may_be_empty(x):
            # An expert's tokens are few, and there are many experts.
            return {}
        found: dict[ir.Node, BlockWeight] = {}
        for reader, index in x.uses():
            if reader.domain == ARCHC and reader.op_type == "Linear" and index == 0 and reader.graph is node.graph:
                value = required(reader.inputs[1])
                weight = self.quantizable(op, value)
                blocks = None if weight is None else self.blocks(op, value, weight)
                if blocks is not None and blocks.format.two_level:
                    found[reader] = blocks
        return found


def _replace_others(node: ir.Node, products: Sequence[ir.Node], results: Sequence[ir.Value]) -> ir.Value:
    """Replace every product but `node`, whose result is returned."""
    own = results[products.index(node)]
    for product, result in zip(products, results, strict=True):
        if product is not node:
            replace_value(product.outputs[0], result)
            assert isinstance(product.graph, ir.Graph)
            product.graph.remove(product, safe=True)
    return own


def _size(blocks: BlockWeight) -> int:
    rows, columns = blocks.weight.sizes
    return rows * columns


def _count_rows(op: GraphBuilder, x: ir.Value, blocks: BlockWeight) -> _Choice:
    """Build the choice at the first products: the others of a graph read as many rows, and either form is right."""
    many = op.GreaterOrEqual(op.Size(x), op.scalar(MANY_ROWS * blocks.weight.sizes[1]))
    # By an amount that is known only at run time: of constants alone, an optimizer would unpack all weights at once.
    shift = op.Mul(op.Cast(many, to=ir.DataType.UINT8), op.scalar(4, ir.DataType.UINT8))
    return _Choice(many, shift)


def unpacked_product(
    node: ir.Node, op: GraphBuilder, blocks: BlockWeight, shift: ir.Value, rows: QuantizedRows
) -> ir.Value:
    """Build x · Wᵀ + bias with Wᵀ as int8 [K, N], from quantized rows of x."""
    integers, scales, multiples = (blocks.initializer(op, role) for role in ("integers", "row_scales", "multiples"))
    (outputs, columns), block = blocks.weight.sizes, blocks.format.block
    # A byte holds two neighbors of a row, the first in its low half. Elementwise operators on bytes are fast except for
    # the shift and the bitwise ones, so the low half is what is left when the high one is subtracted.
    high = op.BitShift(integers, shift, direction="RIGHT")
    low = op.Sub(integers, op.Mul(high, op.constant(np.array(16, np.uint8))))
    halves = op.Reshape(op.Concat(low, high, axis=0), op.ints(2, outputs, columns // block, block // 2))
    signed = op.Sub(op.Cast(halves, to=ir.DataType.INT8), op.constant(np.array(8, np.int8)))
    pairs = op.Reshape(op.Mul(signed, multiples), op.ints(2 * outputs, columns // 2))
    # [K/2, 2N]: two rows of Wᵀ follow each other.
    weight = op.Reshape(op.Transpose(pairs, perm=[1, 0]), op.ints(columns, outputs))
    return integer_product(op, rows, weight, scales, bias_of(node))
