"""Products with int8 or int4 weights, in the forms that ONNX Runtime's providers have kernels for.

CPU: int8 is DynamicQuantizeMatMul, a scale per output and activations quantized as they come; int4 is MatMulNBits, a
scale for each 128 columns of a row. CUDA: both are MatMulNBits. A token table and the head that shares it are stored
once, in blocks, and read by GatherBlockQuantized and MatMulNBits. Norms, biases, convolutions, routers and scanned
experts stay in float.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.domains import ARCHC, MICROSOFT
from archc.compiler.graph.values import required, shape_of
from archc.compiler.lowerings.driver import Lowering, Results
from archc.compiler.lowerings.linear.portable import bias_of, is_lookup, with_bias
from archc.compiler.lowerings.linear.unit_rows import has_unit_rows, may_be_empty, unit_rows
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


@dataclass(frozen=True)
class Kernels:
    """The kernels of a provider: whether int8 with a scale per output has one, whether a product adds its bias, the
    accuracy level of MatMulNBits, the dtypes next to the integers, and whether int4 scales have two levels."""

    columns: bool
    bias: bool
    accuracy_level: int
    dtypes: frozenset[ir.DataType]
    two_level: bool


# On the CPU activations are quantized to int8 inside the product: the fast kernels, at an error below the weights' own.
CPU = Kernels(True, True, 4, frozenset({ir.DataType.FLOAT}), True)
CUDA = Kernels(False, False, 0, frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16}), False)


class QuantizedWeights:
    """Lowers products and lookups whose weight can be quantized; `otherwise` lowers the other products."""

    def __init__(self, bits: Bits, kernels: Kernels, otherwise: Lowering) -> None:
        self.bits, self.kernels, self.otherwise = bits, kernels, otherwise
        self._tables: dict[ir.Graph, set[ir.Value]] = {}

    def linear(self, node: ir.Node, op: GraphBuilder) -> Results:
        """Lower `archc.Linear`."""
        value = required(node.inputs[1])
        weight = self.quantizable(op, value)
        if weight is None:
            return self.otherwise(node, op)
        if self.in_columns(op, value):
            return column_product(node, op, weight)
        return self.block_product(node, op, self.blocks(op, value, weight))

    def lookup(self, node: ir.Node, op: GraphBuilder) -> ir.Value | None:
        """Lower a Gather of a table's rows by ids [...]: [..., K/block, block], then [..., K]."""
        if not is_lookup(node, 0):
            return None
        table, ids = map(required, node.inputs)
        weight = self.quantizable(op, table)
        if weight is None:
            return None
        blocks = self.blocks(op, table, weight)
        sizes = {"gather_axis": 0, "quantize_axis": 2, "block_size": blocks.block, "bits": blocks.bits}
        scale = op.Unsqueeze(op.initializer(BlockScales(blocks)), op.ints(-1))
        rows = op.GatherBlockQuantized(op.initializer(BlockValues(blocks)), ids, scale, domain=MICROSOFT, **sizes)
        rows.type = ir.TensorType(weight.dtype)
        row: ir.Value = op.Reshape(rows, op.ints(*[0] * len(shape_of(ids)), -1))
        return row

    def quantizable(self, op: GraphBuilder, value: ir.Value) -> WeightTensor | None:
        """Return a weight that is quantized: a matrix whose readers are products and lookups, and no router's."""
        weight = value.const_value
        if not isinstance(weight, WeightTensor) or weight.dtype not in self.kernels.dtypes or len(weight.shape) != 2:
            return None
        if is_router(weight) or not all(_is_quantizable_read(*use) for use in value.uses()):
            return None
        return weight if self.in_columns(op, value) or block_size(int(weight.shape[1])) is not None else None

    def in_columns(self, op: GraphBuilder, value: ir.Value) -> bool:
        """Return whether a weight has one scale per output: int8, and no table."""
        return self.bits == 8 and self.kernels.columns and not self.is_table(op, value)

    def is_table(self, op: GraphBuilder, value: ir.Value) -> bool:
        """Return whether rows of a weight are looked up in the graph, before the first of its readers is lowered."""
        if op.graph not in self._tables:
            lookups = (node for node in op.graph if is_lookup(node, 0))
            self._tables[op.graph] = {required(node.inputs[0]) for node in lookups}
        return value in self._tables[op.graph]

    def blocks(self, op: GraphBuilder, value: ir.Value, weight: WeightTensor) -> Blocks:
        """Return a weight in blocks of a row."""
        block = block_size(int(weight.shape[1]))
        assert block is not None
        two_level = self.kernels.two_level and self.bits == 4 and not self.is_table(op, value)
        return Blocks(weight, self.bits, block, two_level)

    def block_product(self, node: ir.Node, op: GraphBuilder, blocks: Blocks) -> ir.Value:
        """Build MatMulNBits."""
        rows, columns = map(int, blocks.weight.shape)
        bias = bias_of(node)
        inside = bias if self.kernels.bias else None
        product: ir.Value = op.MatMulNBits(
            node.inputs[0],
            op.initializer(BlockValues(blocks)),
            op.initializer(BlockScales(blocks)),
            None,
            None,
            inside,
            K=columns,
            N=rows,
            bits=blocks.bits,
            block_size=blocks.block,
            accuracy_level=self.kernels.accuracy_level,
            domain=MICROSOFT,
        )
        return product if self.kernels.bias else with_bias(op, product, bias)


def column_product(node: ir.Node, op: GraphBuilder, weight: WeightTensor) -> ir.Value:
    """Build DynamicQuantizeMatMul, which has one scale for all rows: rows are scaled to unit magnitude first."""
    x = required(node.inputs[0])
    scales, values = op.initializer(ColumnScales(weight)), op.initializer(ColumnValues(weight))
    if has_unit_rows(x):
        product: ir.Value = op.DynamicQuantizeMatMul(x, values, scales, None, bias_of(node), domain=MICROSOFT)
        return product
    unit, sizes = unit_rows(op, x, may_be_empty(x))
    return with_bias(op, op.Mul(op.DynamicQuantizeMatMul(unit, values, scales, domain=MICROSOFT), sizes), bias_of(node))


def is_router(weight: WeightTensor) -> bool:
    """Return whether a weight is a router's, whose few numbers choose the weights of everything else."""
    return ".router." in weight.slot


def _is_quantizable_read(node: ir.Node, index: int) -> bool:
    return (node.domain == ARCHC and node.op_type == "Linear" and index == 1) or is_lookup(node, index)
