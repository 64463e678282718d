"""Attention masks of a graph whose caches grow, bool [batch, 1, seq, total].

Keys are in the columns of the attention mask, padding among them; or in slots, each row's tokens from the first slot
on. A query that is padding sees a key, because a softmax over nothing is not a number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx_ir as ir

from archc.compiler.graph.values import shape_of
from archc.compiler.passes.growing_rows import Rows


class Masks:
    """Builds masks from their descriptions; `prompt` returns the lengths of prompts, int64 [batch]."""

    def __init__(self, rows: Rows, in_slots: bool, prompt: Callable[[], ir.Value]) -> None:
        self.rows, self.op, self.in_slots, self.prompt = rows, rows.op, in_slots, prompt

    def build(self, facts: dict[str, Any]) -> ir.Value:
        """Return the mask of one kind: causal, prefix or bidirectional, with a window or chunks."""
        rows, op = self.rows, self.op
        if self.in_slots:
            queries, keys = op.Unsqueeze(rows.slots, op.ints(1, 3)), rows.columns
        else:
            queries = op.Unsqueeze(rows.own_positions, op.ints(1, 3))
            keys = op.Unsqueeze(rows.positions, op.ints(1, 2))
        conditions = self._conditions(facts, queries, keys)
        if not self.in_slots:
            conditions.append(op.Cast(op.Unsqueeze(rows.mask, op.ints(1, 2)), to=ir.DataType.BOOL))
        seen, *rest = conditions
        for condition in rest:
            seen = op.And(seen, condition)
        if not self.in_slots:
            seen = op.Or(seen, op.Equal(rows.columns, op.Unsqueeze(rows.own_columns, op.ints(1, 3))))
        built: ir.Value = seen
        built.shape = ir.Shape(["batch", 1, shape_of(rows.ids)[1], shape_of(rows.mask)[1]])
        return built

    def _conditions(self, facts: dict[str, Any], queries: ir.Value, keys: ir.Value) -> list[ir.Value]:
        """Return the conditions on the positions of queries and keys."""
        op, window, causal = self.op, facts.get("window"), facts["kind"] != "bidirectional"
        conditions = []
        if causal:
            seen = op.LessOrEqual(keys, queries)
            if facts["kind"] == "prefix":
                seen = op.Or(seen, op.Less(keys, op.Unsqueeze(self.prompt(), op.ints(1, 2, 3))))
            conditions.append(seen)
        if window is not None and facts.get("chunked"):
            conditions.append(op.Equal(op.Div(keys, op.scalar(window)), op.Div(queries, op.scalar(window))))
        elif window is not None:
            # A window of the past has the query itself, one of both sides does not count it.
            distance = op.Sub(queries, keys)
            far = window - 1 if causal else window
            conditions.append(op.LessOrEqual(distance if causal else op.Abs(distance), op.scalar(far)))
        return conditions
