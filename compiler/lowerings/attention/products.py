"""Attention as products on ONNX Runtime's CPU provider: MatMul → Softmax → MatMul.

Query heads are rows of their key/value head. The products read each key and value once, without repeating them for the
query heads, and are faster than the provider's fused kernels at nearly every length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.values import cast, dtype_of, fixed_size, required
from archc.compiler.lowerings.attention.operands import Keys, Values


@dataclass(frozen=True)
class Problem:
    """One attention: the operands whose products are summed to scores, and the options of `archc.Attention`.

    Queries are [B, H, S, D], the additive mask [B, 1 or H, S, T], sinks [H].
    """

    operands: Sequence[tuple[ir.Value, Keys]]
    values: Values
    mask: ir.Value
    heads: int
    kv_heads: int
    value_width: int
    scale: float
    softcap: float = 0.0
    sinks: ir.Value | None = None

    def part(self, op: GraphBuilder, queries: tuple[ir.Value, ir.Value], keys: tuple[ir.Value, ir.Value]) -> Problem:
        """Return the same attention for a range of queries over a range of keys: starts and ends, int64 [1]."""
        starts, ends = (op.Concat(*both, axis=0) for both in zip(queries, keys, strict=True))
        return replace(
            self,
            operands=[(_part(op, q, *queries, 2), k.slice(op, *keys)) for q, k in self.operands],
            values=self.values.slice(op, *keys),
            mask=_part(op, self.mask, starts, ends, 2, 3),
        )


def _part(op: GraphBuilder, whole: ir.Value, start: ir.Value, end: ir.Value, *axes: int) -> ir.Value:
    part: ir.Value = op.Slice(whole, start, end, op.ints(*axes))
    part.type = whole.type
    if whole.shape is not None:
        part.shape = ir.Shape([None if axis in axes else size for axis, size in enumerate(whole.shape)])
    return part


def grouped_attention(op: GraphBuilder, problem: Problem) -> ir.Value:
    """Build softmax(cap(scale · Σ q·kᵀ) + mask) · v as [B, H, S, value_width]."""
    heads, kv_heads, softcap = problem.heads, problem.kv_heads, problem.softcap
    grouped = heads != kv_heads
    dtype = dtype_of(problem.mask)

    def reshape(value: ir.Value, *sizes: int) -> ir.Value:
        # A zero copies that axis, −1 is what remains: [B, H, S, D] ↔ [B, K, H/K·S, D].
        shaped: ir.Value = op.Reshape(value, op.ints(*sizes)) if grouped else value
        return shaped

    alpha = problem.scale / softcap if softcap else problem.scale
    scores: ir.Value | None = None
    for q, keys in problem.operands:
        product = keys.scores(op, reshape(q, 0, kv_heads, -1, fixed_size(q, 3)) if grouped else q, alpha)
        scores = product if scores is None else op.Add(scores, product)
    narrow = dtype_of(problem.operands[0][0])
    if narrow != dtype:
        scores = op.Cast(scores, to=dtype)
    if softcap:
        scores = op.Mul(op.Tanh(scores), op.scalar(softcap, dtype))
    scores = op.Add(reshape(required(scores), 0, heads, -1, 0), problem.mask)
    weights = softmax_with_sinks(op, required(scores), problem.sinks, heads, dtype)
    if narrow != dtype:
        weights = op.Cast(weights, to=narrow)
    result = problem.values.sums(op, reshape(weights, 0, kv_heads, -1, 0))
    return reshape(result, 0, heads, -1, problem.value_width)


def softmax_with_sinks(
    op: GraphBuilder, scores: ir.Value, sinks: ir.Value | None, heads: int, dtype: ir.DataType
) -> ir.Value:
    """Build the softmax over the last axis; a sink [H] is one more score of each row, whose weight is cut off."""
    if sinks is None:
        weights: ir.Value = op.Softmax(scores, axis=-1)
        return weights
    column = op.Concat(op.Shape(scores, start=0, end=3), op.ints(1), axis=0)
    wide = op.Reshape(cast(op, sinks, dtype), op.ints(1, heads, 1, 1))
    weights = op.Softmax(op.Concat(scores, op.Expand(wide, column), axis=-1), axis=-1)
    own: ir.Value = op.Slice(weights, op.ints(0), op.ints(-1), op.ints(3))
    return own
