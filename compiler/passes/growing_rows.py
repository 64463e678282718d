"""Rows of a call of a graph whose caches grow: tokens, positions and places, computed from the attention mask.

The mask, int64 [batch, total], has 1 for a token and 0 for padding on either side, of earlier calls and of this one. A
graph with other state than keys and values reads turned rows: the tokens of a call first and its padding last.
"""

from __future__ import annotations

from functools import cached_property

import onnx_ir as ir

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.values import typed_like


class Rows:
    """Builds facts about the rows of a call, each at its first use. `turned`: the graph reads turned rows."""

    def __init__(self, op: GraphBuilder, ids: ir.Value, mask: ir.Value, cached: bool, turned: bool) -> None:
        self.op, self.ids, self.mask, self.cached, self.turned = op, ids, mask, cached, turned

    @cached_property
    def total(self) -> ir.Value:
        """The columns of the mask, int64 [1]."""
        count: ir.Value = self.op.Shape(self.mask, start=1, end=2)
        return count

    @cached_property
    def count(self) -> ir.Value:
        """The columns of the call, int64 [1]."""
        count: ir.Value = self.op.Shape(self.ids, start=1, end=2)
        return count

    @cached_property
    def begin(self) -> ir.Value:
        """The columns before the call, int64 [1]."""
        begin: ir.Value = self.op.Sub(self.total, self.count)
        return begin

    @cached_property
    def own_mask(self) -> ir.Value:
        """The mask of the call's columns, int64 [batch, seq]."""
        return self.own(self.mask)

    @cached_property
    def new(self) -> ir.Value:
        """The numbers of tokens of the call, int64 [batch]."""
        counted: ir.Value = self.op.ReduceSum(self.own_mask, self.op.ints(1), keepdims=0)
        return counted

    @cached_property
    def past(self) -> ir.Value:
        """The numbers of tokens of earlier calls, int64 [batch]."""
        past: ir.Value = self.op.Sub(self.op.ReduceSum(self.mask, self.op.ints(1), keepdims=0), self.new)
        return past

    @cached_property
    def places(self) -> ir.Value:
        """The place of each column of the call, int64 [batch, seq]."""
        op = self.op
        places = op.Range(op.scalar(0), op.Squeeze(self.count), op.scalar(1))
        return typed_like(op.Add(op.Sub(self.ids, self.ids), places), self.ids)

    @cached_property
    def columns(self) -> ir.Value:
        """The columns of the mask, int64 [total]."""
        op = self.op
        columns: ir.Value = op.Range(op.scalar(0), op.Squeeze(self.total), op.scalar(1))
        return columns

    @cached_property
    def own_columns(self) -> ir.Value:
        """The columns of the call in the order in which the graph reads them, int64 [batch, seq]."""
        columns: ir.Value = self.op.Add(self.to_turned if self.turned else self.places, self.begin)
        return columns

    @cached_property
    def slots(self) -> ir.Value:
        """The places of the call's tokens among all tokens of their rows, in turned rows, int64 [batch, seq]."""
        slots: ir.Value = self.op.Add(self.op.Unsqueeze(self.past, self.op.ints(1)), self.places)
        return slots

    @cached_property
    def positions(self) -> ir.Value:
        """The number of tokens before each column, and 0 before the first token, int64 [batch, total]."""
        op = self.op
        ordinals = op.Sub(op.CumSum(self.mask, op.scalar(1)), op.scalar(1))
        positions: ir.Value = op.Max(ordinals, op.scalar(0))
        return positions

    @cached_property
    def own_positions(self) -> ir.Value:
        """The positions of the call's columns in the order in which the graph reads them, int64 [batch, seq]."""
        return self.turn(self.own(self.positions))

    @cached_property
    def to_turned(self) -> ir.Value:
        """The place that each column of a turned row is read from, int64 [batch, seq]."""
        return self._turn(1)

    @cached_property
    def from_turned(self) -> ir.Value:
        """The place in a turned row that each column is read from, int64 [batch, seq]."""
        return self._turn(-1)

    def own(self, values: ir.Value) -> ir.Value:
        """Return the call's columns of values of all columns, [batch, seq]."""
        if not self.cached:
            return values
        part: ir.Value = self.op.Slice(values, self.begin, self.total, self.op.ints(1))
        return part

    def turn(self, values: ir.Value) -> ir.Value:
        """Return values of the call's columns, [batch, seq], in the order in which the graph reads them."""
        if not self.turned:
            return values
        return typed_like(self.op.GatherElements(values, self.to_turned, axis=1), values)

    def _turn(self, direction: int) -> ir.Value:
        op = self.op
        # ONNX Runtime has a kernel for 64 bits since 1.20 alone.
        first = op.ArgMax(op.Cast(self.own_mask, to=ir.DataType.INT32), axis=1, keepdims=1)
        shifted = op.Add(self.places, first) if direction > 0 else op.Sub(self.places, first)
        turned: ir.Value = op.Mod(shifted, self.count)
        return turned
