"""Keys and values of attention as ONNX Runtime's CPU provider multiplies them: in float or int8.

Shape suffixes: B batch, K key/value heads, R query rows of a key/value head, T keys, D head width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import onnx_ir as ir

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.domains import MICROSOFT
from archc.compiler.lowerings.linear.quantized_rows import replaceable
from archc.plan.integers import ROW_STEP, ROW_ZERO, SHARE_STEP

LEAST = float(np.finfo(np.float32).tiny)
"""Stands for a magnitude of zero, by which a row would be divided."""


class Keys(Protocol):
    """The second operand of scores."""

    def scores(self, op: GraphBuilder, q_BKRD: ir.Value, alpha: float) -> ir.Value:
        """Return alpha · q · kᵀ [B, K, R, T]."""

    def slice(self, op: GraphBuilder, start: ir.Value, end: ir.Value) -> Keys:
        """Return the keys from `start` to before `end`, int64 [1] each."""


class Values(Protocol):
    """The second operand of weighted sums."""

    def sums(self, op: GraphBuilder, weights_BKRT: ir.Value) -> ir.Value:
        """Return weights · v [B, K, R, D]."""

    def slice(self, op: GraphBuilder, start: ir.Value, end: ir.Value) -> Values:
        """Return the values from `start` to before `end`, int64 [1] each."""


@dataclass(frozen=True)
class FloatKeys:
    """Keys [B, K, T, D], or [B, K, D, T] if `transposed`."""

    value: ir.Value
    transposed: bool = False

    def scores(self, op: GraphBuilder, q_BKRD: ir.Value, alpha: float) -> ir.Value:
        """Return alpha · q · kᵀ [B, K, R, T]."""
        flag = {} if self.transposed else {"transB": 1}
        product: ir.Value = op.FusedMatMul(q_BKRD, self.value, alpha=alpha, domain=MICROSOFT, **flag)
        return product

    def slice(self, op: GraphBuilder, start: ir.Value, end: ir.Value) -> FloatKeys:
        """Return the keys from `start` to before `end`."""
        return FloatKeys(op.Slice(self.value, start, end, op.ints(3 if self.transposed else 2)), self.transposed)


@dataclass(frozen=True)
class FloatValues:
    """Values [B, K, T, D]."""

    value: ir.Value

    def sums(self, op: GraphBuilder, weights_BKRT: ir.Value) -> ir.Value:
        """Return weights · v [B, K, R, D]."""
        product: ir.Value = op.MatMul(weights_BKRT, self.value)
        return product

    def slice(self, op: GraphBuilder, start: ir.Value, end: ir.Value) -> FloatValues:
        """Return the values from `start` to before `end`."""
        return FloatValues(op.Slice(self.value, start, end, op.ints(2)))


@dataclass(frozen=True)
class Int8Keys:
    """Keys int8 [B, K, D, T] with a scale for each token [B, K, 1, T]."""

    integers: ir.Value
    scale: ir.Value

    def scores(self, op: GraphBuilder, q_BKRD: ir.Value, alpha: float) -> ir.Value:
        """Return alpha · q · kᵀ [B, K, R, T]; each query row is quantized at magnitude one."""
        size = magnitude(op, q_BKRD)
        step, zero = replaceable(op, ROW_STEP), replaceable(op, ROW_ZERO)
        quantized = op.QuantizeLinear(op.Div(q_BKRD, size), step, zero)
        integers = op.Cast(op.MatMulInteger(quantized, self.integers, zero), to=ir.DataType.FLOAT)
        rows = op.Mul(size, op.Mul(step, op.scalar(alpha, ir.DataType.FLOAT)))
        product: ir.Value = op.Mul(op.Mul(integers, self.scale), rows)
        return product

    def slice(self, op: GraphBuilder, start: ir.Value, end: ir.Value) -> Int8Keys:
        """Return the keys from `start` to before `end`."""
        return Int8Keys(*(op.Slice(value, start, end, op.ints(3)) for value in (self.integers, self.scale)))


@dataclass(frozen=True)
class Int8Values:
    """Values int8 [B, K, T, D] with a scale for each token [B, K, 1, T]."""

    integers: ir.Value
    scale: ir.Value

    def sums(self, op: GraphBuilder, weights_BKRT: ir.Value) -> ir.Value:
        """Return weights · v [B, K, R, D]; scaled weights, which are not negative, are quantized at magnitude one."""
        scaled = op.Mul(weights_BKRT, self.scale)
        size = op.Max(op.ReduceMax(scaled, op.ints(-1)), op.scalar(LEAST, ir.DataType.FLOAT))
        zero, step = op.scalar(0, ir.DataType.UINT8), replaceable(op, SHARE_STEP)
        quantized = op.QuantizeLinear(op.Div(scaled, size), step, zero)
        integers = op.Cast(op.MatMulInteger(quantized, self.integers, zero), to=ir.DataType.FLOAT)
        product: ir.Value = op.Mul(integers, op.Mul(size, step))
        return product

    def slice(self, op: GraphBuilder, start: ir.Value, end: ir.Value) -> Int8Values:
        """Return the values from `start` to before `end`."""
        return Int8Values(op.Slice(self.integers, start, end, op.ints(2)), op.Slice(self.scale, start, end, op.ints(3)))


def magnitude(op: GraphBuilder, x: ir.Value) -> ir.Value:
    """Return the largest magnitude along the last axis, which stays with size 1; never zero."""
    largest = op.ReduceMax(op.Abs(x), op.ints(-1))
    value: ir.Value = op.Max(largest, op.scalar(LEAST, ir.DataType.FLOAT))
    return value
