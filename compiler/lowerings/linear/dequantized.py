"""Weights in int8, int4 or float8 behind a DequantizeLinear, which TensorRT fuses into the product or lookup.

int4: a scale for each block of an output's inputs, an input of the DequantizeLinear. int8, fp8: a scale for each
output, or each row of a table, by which the result is multiplied. TensorRT accepts such scales before the product too,
but then transposes weights that are a stack back in memory, all of them at every call; with one number for all of them
it reads them as they are (TensorRT for RTX 1.7, by its own account of its memory).

A token table that the head shares is stored once, and read by both. Norms, biases, routers and weights with a single
output stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.domains import ARCHC
from archc.compiler.graph.values import fixed_size, required
from archc.compiler.lowerings.linear import portable
from archc.compiler.lowerings.linear.quantized import is_router
from archc.compiler.weights.lazy import StackedWeight, WeightTensor
from archc.compiler.weights.quantization import block_size
from archc.compiler.weights.symmetric import Form, Scheme, SignedMatrix, SignedScales, SignedStack, SignedValues


@dataclass(frozen=True)
class _Dequantized:
    """A weight as DequantizeLinear gives it, and the scales of its outputs or rows if it has them apart."""

    value: ir.Value
    scales: ir.Value | None


@dataclass(frozen=True)
class _Stored:
    """The tensors of a weight, and the attributes of its DequantizeLinear."""

    scheme: Scheme
    values: WeightTensor
    scales: WeightTensor
    attributes: Mapping[str, int] = field(default_factory=dict)


class DequantizedWeights:
    """Lowers products and lookups; a weight is dequantized once for all its readers."""

    def __init__(self, form: Form) -> None:
        self.form = form
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
            stored = self._stored(value, self._is_table(op, value))
            self._done[key] = None if stored is None else _dequantize(op, stored, required(value).const_value)
        return self._done[key]

    def _stored(self, value: ir.Value, table: bool) -> _Stored | None:
        weight = value.const_value
        if not isinstance(weight, WeightTensor) or is_router(weight):
            return None
        if not all(_is_product(*use) or portable.is_lookup(*use) for use in value.uses()):
            return None
        if table:
            return self._table(weight)
        return self._stack(weight) if isinstance(weight, StackedWeight) else self._matrix(weight)

    def _matrix(self, weight: WeightTensor) -> _Stored | None:
        """Store a matrix [N, K] as [K, N], which rows are multiplied by."""
        if len(weight.shape) != 2:
            return None
        rows, columns = map(int, weight.shape)
        # A gate's one number, say: nothing is saved, and TensorRT for RTX 1.7 fails where it joins such products.
        scheme = self._scheme(columns, rows) if rows > 1 else None
        if scheme is None:
            return None
        matrix = SignedMatrix(weight, scheme)
        return _Stored(scheme, SignedValues(matrix), SignedScales(matrix), _blocks(scheme, axis=0))

    def _stack(self, weight: StackedWeight) -> _Stored | None:
        """Store matrices [E, N, K] as [E, K, N], of which each has scales of its own."""
        if len(weight.shape) != 3:
            return None
        _, rows, columns = map(int, weight.shape)
        scheme = self._scheme(columns, rows)
        if scheme is None:
            return None
        matrices = [SignedMatrix(part, scheme) for part in weight.in_parts()]
        values, scales = [SignedValues(each) for each in matrices], [SignedScales(each) for each in matrices]
        blocks = 1 if scheme.block is None else columns // scheme.block
        name = f"{weight.name}.transposed.signed.{self.form}"
        stacks = SignedStack(name, values, (columns, rows)), SignedStack(f"{name}.scale", scales, (blocks, rows))
        return _Stored(scheme, *stacks, _blocks(scheme, axis=1))

    def _table(self, weight: WeightTensor) -> _Stored | None:
        """Store a table [N, K] as it is, because its rows are looked up."""
        if len(weight.shape) != 2 or isinstance(weight, StackedWeight):
            return None
        columns = int(weight.shape[1])
        scheme = self._scheme(columns, columns)
        if scheme is None or block_size(columns) is None:
            return None
        matrix = SignedMatrix(weight, scheme, turned=False)
        return _Stored(scheme, SignedValues(matrix), SignedScales(matrix), _blocks(scheme, axis=1))

    def _scheme(self, columns: int, packed: int) -> Scheme | None:
        """Return how numbers become integers; None if blocks do not fit, or `packed` of them fill no whole bytes."""
        if self.form != "int4":
            return Scheme(self.form, None)
        block = block_size(columns)
        return None if block is None or packed % 2 else Scheme(self.form, block)


def _blocks(scheme: Scheme, axis: int) -> dict[str, int]:
    """Return the attributes of a DequantizeLinear by blocks; `axis` is that of a matrix's inputs."""
    return {} if scheme.block is None else {"axis": axis, "block_size": scheme.block}


def _dequantize(op: GraphBuilder, stored: _Stored, weight: ir.TensorProtocol | None) -> _Dequantized:
    assert isinstance(weight, WeightTensor)
    scheme, scales = stored.scheme, op.initializer(stored.scales)
    scale = scales if scheme.block is not None else op.constant(np.array(scheme.unit, weight.dtype.numpy()))
    value = op.DequantizeLinear(op.initializer(stored.values), scale, **stored.attributes)
    value.type, value.shape = ir.TensorType(weight.dtype), stored.values.shape
    return _Dequantized(value, None if scheme.block is not None else scales)


def _table_product(op: GraphBuilder, x: ir.Value, weight: ir.Value, dequantized: ir.Value) -> ir.Value:
    """Build a product by a table so that TensorRT reads the integers that the lookup reads.

    For a Gemm, or a MatMul of two matrices, TensorRT for RTX 1.7 stores them once more, transposed.
    """
    rows, columns = (fixed_size(weight, axis) for axis in (0, 1))
    product = op.MatMul(op.Reshape(x, op.ints(1, -1, columns)), op.Transpose(dequantized, perm=[1, 0]))
    return portable.unflatten_rows(op, op.Reshape(product, op.ints(-1, rows), allowzero=1), x, rows)


def _is_product(node: ir.Node, index: int) -> bool:
    return node.domain == ARCHC and node.op_type == "Linear" and index == 1
