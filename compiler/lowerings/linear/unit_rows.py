"""Activations whose rows have one magnitude, for products that quantize a whole call with one scale."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from archc.compiler.graph.axes import MAY_BE_EMPTY
from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.values import axis_name

NORMS = ("RMSNormalization", "LayerNormalization", "SkipSimplifiedLayerNormalization", "SkipLayerNormalization")


def has_unit_rows(x: ir.Value) -> bool:
    """Return whether a value comes from a norm, after which rows have one magnitude."""
    maker = x.producer()
    return maker is not None and maker.op_type in NORMS


def may_be_empty(x: ir.Value) -> bool:
    """Return whether a call may have no row of x [..., N]."""
    return axis_name(x, -2) in MAY_BE_EMPTY


def unit_rows(op: GraphBuilder, x: ir.Value, empty: bool = False) -> tuple[ir.Value, ir.Value]:
    """Build x [..., N] with each row scaled to magnitude one, and the magnitudes [..., 1].

    With one scale for all rows, a token of large magnitude (a first token often has one) would leave the others no
    integer but zero.
    """
    if empty:
        # Up to ONNX Runtime 1.31, the reduction of no rows has their width instead of one column.
        largest, _ = op.TopK(op.Abs(x), op.ints(1), outputs=2, axis=-1)
    else:
        largest = op.ReduceMax(op.Abs(x), op.ints(-1))
    # Not zero, by which a row of zeros would be divided.
    sizes = op.Max(largest, op.constant(np.array(np.finfo(np.float32).tiny)))
    return op.Div(x, sizes), sizes
