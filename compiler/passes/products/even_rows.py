"""Activations whose rows have one magnitude, for products that quantise a whole call with one scale."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from archc.compiler.graph.nodes import Tape

NORMS = ("RMSNormalization", "LayerNormalization", "SkipSimplifiedLayerNormalization", "SkipLayerNormalization")


def has_even_rows(x: ir.Value) -> bool:
    """Whether a value comes from a norm, after which rows are alike."""
    maker = x.producer()
    return maker is not None and maker.op_type in NORMS


def even_rows(op: Tape, x: ir.Value, perhaps_empty: bool = False) -> tuple[ir.Value, ir.Value]:
    """x [..., N] with each row brought to magnitude one, and the magnitudes [..., 1].

    With one scale for all rows, a token of great magnitude (a first token often has one) would leave the others no
    integers but zero.
    """
    if perhaps_empty:
        # ONNX Runtime's reductions give no rows their old width instead of one column.
        largest, _ = op("TopK", op("Abs", x), op.integers(1), outputs=2, axis=-1)
    else:
        largest = op("ReduceMax", op("Abs", x), op.integers(-1))
    # Not zero, which a row of zeros would be divided by.
    sizes = op("Max", largest, op.constant(np.array(np.finfo(np.float32).tiny)))
    return op("Div", x, sizes), sizes
