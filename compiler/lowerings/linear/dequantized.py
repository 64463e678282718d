"""Weights in int8, int4 or float8 behind a DequantizeLinear, which TensorRT fuses into the product or lookup.

int4: a scale for each block of an output's inputs, an input of the DequantizeLinear. int8, fp8: a scale for each
output, or each row of a table, by which the result is multiplied. TensorRT accepts such scales before the product too,
but then transposes weights that are a stack back in memory, all of them at every call; with one number for all of them
it reads them as they are (TensorRT for RTX 1.7, by its own account of its memory).

A token table that the head shares is stored once, and read by both. Norms, biases, routers and weights with a single
output stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.domains import ARCHC
from archc.compiler.graph.values import fixed_size, required
from archc.compiler.lowerings.linear import portable
from archc.compiler.lowerings.linear.quantized import is_router
from archc.compiler.weights.formats.blocks import block_size
from archc.compiler.weights.formats.symmetric import NumberFormat, SymmetricFormat
from archc.compiler.weights.lazy import StackedWeight, WeightTensor


@dataclass(frozen=True)
class _Dequantized:
    """A weight as DequantizeLinear gives it, and the scales of its outputs or rows if it has them apart."""

    value: ir.Value
    scales: ir.Value | None


class DequantizedWeights:
    """Lowers products and lookups; a weight is dequantized once for all its readers."""

    def __init__(self, kind: NumberFormat) -> None:
        self.kind = kind
        self._tables: dict[ir.Graph, set[ir.Value]] = {}
        self._done: dict[tuple[ir.Graph, ir.Value], _Dequantized | None] = {}

    def linear(self, node: ir.Node, op: GraphBuilder) -> ir.Value:
        """Lower `archc.Linear` over a matrix or a stack of matrices."""
        x, weight = map(required, node.inputs[:2])
        table = self._is_table(op, weight)
        found = self._dequantized(op, weight)
        if found is None:
            return portable.linear(node, op)
        product = _table_product(op, x, weight, found.value) if table else op.MatMul(x, found.value)
        if found.scales is not None:
            product = op.Mul(product, found.scales)
        return portable.with_bias(op, product, portable.bias_of(node))

    def lookup(self, node: ir.Node, op: GraphBuilder) -> ir.Value | None:
        """Lower a Gather of a table's rows."""
        if not portable.is_lookup(node, 0):
            return None
        table, ids = map(required, node.inputs)
        found = self._dequantized(op, table) if self._is_table(op, table) else None
        if found is None:
            return None
        rows: ir.Value = op.Gather(found.value, ids, axis=0)
        if found.scales is None:
            return rows
        scales = op.Unsqueeze(op.Gather(found.scales, ids, axis=0), op.ints(-1))
        scaled: ir.Value = op.Mul(rows, scales)
        return scaled

    def _is_table(self, op: GraphBuilder, value: ir.Value) -> bool:
        """Return whether rows of a weight are looked up in the graph, before the first of its readers is lowered."""
        if op.graph not in self._tables:
            lookups = (node for node in op.graph if portable.is_lookup(node, 0))
            self._tables[op.graph] = {required(node.inputs[0]) for node in lookups}
        return value in self._tables[op.graph]

    def _dequantized(self, op: GraphBuilder, value: ir.Value) -> _Dequantized | None:
        """Build the DequantizeLinear of a weight at its first reader; None for a weight that stays in float."""
        key = (op.graph, value)
        if key not in self._done:
            self._done[key] = None
            if (stored := self._format(value, self._is_table(op, value))) is not None:
                weight = value.const_value
                assert isinstance(weight, WeightTensor)
                self._done[key] = _dequantize(op, weight, stored)
        return self._done[key]

    def _format(self, value: ir.Value, table: bool) -> SymmetricFormat | None:
        """Return the format of a weight: a table's rows are looked up, other matrices are stored transposed."""
        weight = value.const_value
        if not isinstance(weight, WeightTensor) or is_router(weight):
            return None
        if not all(_is_product(*use) or portable.is_lookup(*use) for use in value.uses()):
            return None
        if len(weight.sizes) != (3 if isinstance(weight, StackedWeight) else 2):
            return None
        rows, columns = weight.sizes[-2:]
        if table:
            no_block = isinstance(weight, StackedWeight) or block_size(columns) is None
            return None if no_block else SymmetricFormat.fitting(self.kind, rows, columns, transposed=False)
        # A gate's one number, say: nothing is saved, and TensorRT for RTX 1.7 fails where it joins such products.
        if rows == 1 and not isinstance(weight, StackedWeight):
            return None
        return SymmetricFormat.fitting(self.kind, rows, columns)


def _dequantize(op: GraphBuilder, weight: WeightTensor, stored: SymmetricFormat) -> _Dequantized:
    tensors = stored.tensors(weight)
    elements, scales = op.initializer(tensors["elements"]), op.initializer(tensors["scales"])
    if stored.block is None:
        prescale = op.constant(np.array(stored.prescale, weight.dtype.numpy()))
        value = op.DequantizeLinear(elements, prescale)
    else:
        # Blocks lie along the inputs of a matrix.
        axis = len(weight.sizes) - (2 if stored.transposed else 1)
        value = op.DequantizeLinear(elements, scales, axis=axis, block_size=stored.block)
    value.type, value.shape = ir.TensorType(weight.dtype), elements.shape
    return _Dequantized(value, scales if stored.block is None else None)


def _table_product(op: GraphBuilder, x: ir.Value, weight: ir.Value, dequantized: ir.Value) -> ir.Value:
    """Build a product by a table so that TensorRT reads the integers that the lookup reads.

    For a Gemm, or a MatMul of two matrices, TensorRT for RTX 1.7 stores them once more, transposed.
    """
    rows, columns = (fixed_size(weight, axis) for axis in (0, 1))
    product = op.MatMul(op.Reshape(x, op.ints(1, -1, columns)), op.Transpose(dequantized, perm=[1, 0]))
    return portable.unflatten_rows(op, op.Reshape(product, op.ints(-1, rows), allowzero=1), x, rows)


def _is_product(node: ir.Node, index: int) -> bool:
    return node.domain == ARCHC and node.op_type == "Linear" and index == 1
