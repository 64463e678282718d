"""Products of activations in uint8 with one scale per row, and int8 weights with one scale per output.

ONNX Runtime's DynamicQuantizeMatMul has one scale for the activations of a whole call, so that a row's result would
depend on the other rows: on other sequences of a batch, and on later tokens. Here each row is divided by its largest
magnitude, and quantized with a constant scale and zero point.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from archc.compiler.graph.axes import MAY_BE_EMPTY
from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.domains import MICROSOFT
from archc.compiler.graph.values import axis_name
from archc.compiler.lowerings.linear.portable import with_bias
from archc.plan.integers import FULL, ROW_STEP, ROW_ZERO, WEIGHT_ZERO

LARGEST, ZERO_POINT = 127, 128


@dataclass(frozen=True)
class QuantizedRows:
    """Activations [..., K] = (integers − 128) / 127 · sizes, uint8 [..., K] and float32 [..., 1]."""

    integers: ir.Value
    sizes: ir.Value


def may_be_empty(x: ir.Value) -> bool:
    """Return whether a call may have no row of x [..., K]."""
    return axis_name(x, -2) in MAY_BE_EMPTY


def quantize_rows(op: GraphBuilder, x: ir.Value, empty: bool = False, computed: bool = False) -> QuantizedRows:
    """Quantize the rows of x [..., K]; `empty` if there may be none, `computed` next to computed int8 operands."""
    if empty:
        # Up to ONNX Runtime 1.31, the reduction of no rows has their width instead of one column.
        largest, _ = op.TopK(op.Abs(x), op.ints(1), outputs=2, axis=-1)
    else:
        largest = op.ReduceMax(op.Abs(x), op.ints(-1))
    # Not zero, by which a row of zeros would be divided.
    sizes = op.Max(largest, op.constant(np.array(np.finfo(np.float32).tiny)))
    step, zero = _form(op, computed)
    return QuantizedRows(op.QuantizeLinear(op.Div(x, sizes), step, zero), sizes)


def integer_product(
    op: GraphBuilder, rows: QuantizedRows, weight: ir.Value, scales: ir.Value, bias: ir.Value | None
) -> ir.Value:
    """Build x · W + bias with W = int8 weight [K, N] · float32 scales [N]; the weight is stored or computed."""
    computed = weight.const_value is None
    step, zero = _form(op, computed)
    inputs = [rows.integers, weight, step, scales, zero, *([] if computed else [replaceable(op, WEIGHT_ZERO)])]
    product = op.MatMulIntegerToFloat(*inputs, domain=MICROSOFT)
    return with_bias(op, op.Mul(product, rows.sizes), bias)


def replaceable(op: GraphBuilder, name: str) -> ir.Value:
    """Return an initializer that a runtime may replace; no constant shares it."""
    return op.initializer(ir.tensor(FULL[name], name=name))


def _form(op: GraphBuilder, computed: bool) -> tuple[ir.Value, ir.Value]:
    """Return the step and the zero point of rows of magnitude one."""
    if computed:
        return replaceable(op, ROW_STEP), replaceable(op, ROW_ZERO)
    return op.constant(np.array(1 / LARGEST, np.float32)), op.constant(np.array(ZERO_POINT, np.uint8))
