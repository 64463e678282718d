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

LARGEST, ZERO_POINT = 127, 128


@dataclass(frozen=True)
class QuantizedRows:
    """Activations [..., K] = (integers − 128) / 127 · sizes, uint8 [..., K] and float32 [..., 1]."""

    integers: ir.Value
    sizes: ir.Value


def may_be_empty(x: ir.Value) -> bool:
    """Return whether a call may have no row of x [..., K]."""
    return axis_name(x, -2) in MAY_BE_EMPTY


def quantize_rows(op: GraphBuilder, x: ir.Value, empty: bool = False) -> QuantizedRows:
    """Quantize the rows of x [..., K]; `empty` if there may be none."""
    if empty:
        # Up to ONNX Runtime 1.31, the reduction of no rows has their width instead of one column.
        largest, _ = op.TopK(op.Abs(x), op.ints(1), outputs=2, axis=-1)
    else:
        largest = op.ReduceMax(op.Abs(x), op.ints(-1))
    # Not zero, by which a row of zeros would be divided.
    sizes = op.Max(largest, op.constant(np.array(np.finfo(np.float32).tiny)))
    return QuantizedRows(op.QuantizeLinear(op.Div(x, sizes), _scale(op), _zero_point(op)), sizes)


def integer_product(
    op: GraphBuilder, rows: QuantizedRows, weight: ir.Value, scales: ir.Value, bias: ir.Value | None
) -> ir.Value:
    """Build x · W + bias with W = int8 weight [K, N] · float32 scales [N]."""
    inputs = (rows.integers, weight, _scale(op), scales, _zero_point(op))
    product = op.MatMulIntegerToFloat(*inputs, domain=MICROSOFT)
    return with_bias(op, op.Mul(product, rows.sizes), bias)


def _scale(op: GraphBuilder) -> ir.Value:
    return op.constant(np.array(1 / LARGEST, np.float32))


def _zero_point(op: GraphBuilder) -> ir.Value:
    return op.constant(np.array(ZERO_POINT, np.uint8))
