"""Prompts of a prefix LM (GLM) in a graph whose caches grow: found in the ids of a call, and passed on as a state.

`past_prompt`, int64 [batch, 2], has the number of tokens of a row's prompt, 0 before the token that ends it, and the
position of the masked span that the output fills. Until that token, all tokens of a row are its prompt.
"""

from __future__ import annotations

from functools import cached_property

import onnx_ir as ir

from archc.archspec import vocabulary as words
from archc.compiler.contract.ports import mark, mark_state_input
from archc.compiler.passes.growing_rows import Rows

PAST, PRESENT = "past_prompt", "present_prompt"
_NOWHERE = 2**24 - 1  # a position after all, exact in the floats of runtimes that have no kernel of integers


class Prompts:
    """Builds the lengths of prompts, and two position ids for each token (Du et al. 2022, section 2.2)."""

    def __init__(self, rows: Rows, word: words.Prefix) -> None:
        self.rows, self.op, self.word = rows, rows.op, word
        integers = ir.TensorType(ir.DataType.INT64)
        self.past = ir.Value(name=PAST, type=integers, shape=ir.Shape(["batch", 2]))
        mark_state_input(self.past, "fixed", PRESENT)

    @cached_property
    def lengths(self) -> ir.Value:
        """The tokens of prompts, int64 [batch]; a number after all positions for a prompt that has no end yet."""
        lengths: ir.Value = self.op.Where(self._known, self._part(0), self._first(self.word.end))
        return lengths

    def positions(self) -> ir.Value:
        """Return the positions in the text and in the generated block, int64 [batch, 2, seq].

        A prompt token has its own position and block position 0; an output token the blank's position and 1, 2, 3, …
        """
        op, own = self.op, self.rows.own_positions
        length, blank = (op.Unsqueeze(value, op.ints(1)) for value in (self.lengths, self._blank))
        is_output = op.GreaterOrEqual(own, length)
        text = op.Where(is_output, blank, own)
        block = op.Where(is_output, op.Add(op.Sub(own, length), op.scalar(1)), op.scalar(0))
        positions: ir.Value = op.Concat(*(op.Unsqueeze(part, op.ints(1)) for part in (text, block)), axis=1)
        return positions

    def present(self) -> ir.Value:
        """Return the state of the next call."""
        op = self.op
        has_end = op.Less(self.lengths, op.scalar(_NOWHERE))
        length = op.Where(has_end, self.lengths, op.scalar(0))
        state: ir.Value = op.Concat(*(op.Unsqueeze(part, op.ints(1)) for part in (length, self._blank)), axis=1)
        state.name, state.type, state.shape = PRESENT, self.past.type, self.past.shape
        mark(state, {"state": "fixed"})
        return state

    @cached_property
    def _known(self) -> ir.Value:
        """True for a row whose prompt ended in an earlier call, bool [batch]."""
        known: ir.Value = self.op.Greater(self._part(0), self.op.scalar(0))
        return known

    @cached_property
    def _blank(self) -> ir.Value:
        """The position of the masked span, int64 [batch]: that of the first kind of blank that a prompt has."""
        op = self.op
        blank = self._part(1)
        for token in reversed(self.word.blanks):
            place = self._first(token)
            is_found = op.And(op.Less(place, self.lengths), op.Not(self._known))
            blank = op.Where(is_found, place, blank)
        return blank

    def _part(self, index: int) -> ir.Value:
        part: ir.Value = self.op.Gather(self.past, self.op.scalar(index), axis=1)
        return part

    def _first(self, token: int) -> ir.Value:
        """Return the position of the first such token of the call, int64 [batch]."""
        op, rows = self.op, self.rows
        is_token = op.And(op.Equal(rows.ids, op.scalar(token)), op.Cast(rows.own_mask, to=ir.DataType.BOOL))
        places = op.Where(is_token, rows.own_positions, op.scalar(_NOWHERE))
        place: ir.Value = op.ReduceMin(places, op.ints(1), keepdims=0)
        return place
