"""Additive masks: zero, or a bias, for an attended key and the lowest finite number for a masked one."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from archc.compiler.graph.builder import Builder, GraphBuilder
from archc.compiler.graph.values import cast


class AdditiveMasks:
    """Builds the additive form of boolean masks, once for all layers that read the same mask and bias."""

    def __init__(self) -> None:
        self._built: dict[tuple[ir.Value, ir.Value | None, ir.DataType], ir.Value] = {}

    def additive(self, op: GraphBuilder, mask: ir.Value, bias: ir.Value | None, dtype: ir.DataType) -> ir.Value:
        """Return the additive mask of a boolean one [B, 1, S, T], with a bias that broadcasts to [B, H, S, T]."""
        key = (mask, bias, dtype)
        if key not in self._built:
            self._built[key] = additive_mask(op, mask, bias, dtype)
        return self._built[key]


def additive_mask(op: Builder, mask: ir.Value, bias: ir.Value | None, dtype: ir.DataType) -> ir.Value:
    """Build Where(mask, bias or zero, lowest)."""
    seen = op.scalar(0.0, dtype) if bias is None else bias
    added: ir.Value = op.Where(mask, cast(op, seen, dtype), lowest(op, dtype))
    added.type = ir.TensorType(dtype)
    added.shape = mask.shape if bias is None else None
    return added


def lowest(op: Builder, dtype: ir.DataType) -> ir.Value:
    """Return the lowest finite number, not −∞: the softmax of a row that attends to nothing stays finite."""
    return op.constant(np.array(dtype.min, dtype=dtype.numpy()))
