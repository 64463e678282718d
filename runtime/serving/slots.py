"""Sequences that come and go: each call has the next tokens of many of them, and a piece of one more prompt."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from archc.plan.dtypes import to_float32
from archc.plan.manifest import Manifest
from archc.runtime.backends.base import Call
from archc.runtime.backends.ort.backend import OrtBackend
from archc.runtime.errors import PromptError
from archc.runtime.inputs.feeds import Feeder
from archc.runtime.inputs.outputs import empty_output
from archc.runtime.inputs.prefix_lm import PrefixTracker
from archc.runtime.inputs.prompts import Ints, as_rows, check_values, longest_draft
from archc.runtime.state.encoder import EncodedSource
from archc.runtime.state.slot_states import SlotStates, Snapshot

Floats = NDArray[np.float32]
_CALLS = 64  # bound calls that are kept
_NO_TOKENS: Ints = np.zeros(0, np.int64)
_NO_POSITIONS: Ints = np.zeros((1, 0), np.int64)


@dataclass(frozen=True)
class Piece:
    """Tokens of one slot's prompt, and those of them whose logits are computed."""

    slot: int
    ids: Sequence[int]
    logits: Literal["none", "last", "all"] = "last"


class Slots:
    """`count` slots for one sequence each, computed by the packed graph of a plan.

    The sequences of a call's steps are neighbors in memory, and slots move to make them so: `_row` has the row of each
    slot. `limit` is the most bytes of all states. Not thread-safe.
    """

    def __init__(self, manifest: Manifest, backend: OrtBackend, count: int, limit: int | None = None) -> None:
        assert manifest.packed is not None
        self.count, self._manifest, self._backend = count, manifest, backend
        self._packed, self._limits = manifest.packed, manifest.limits
        self._logits = next(output for output in self._packed.outputs if output.role == "logits")
        self._feeders = [Feeder(group.inputs, manifest.limits) for group in (self._packed.steps, self._packed.piece)]
        # A call without a piece binds the state of some row that no other part of it writes.
        spare = int(any(state.kind == "fixed" for state in manifest.state))
        self.states = SlotStates(backend, manifest.state, count + spare, manifest.limits, limit)
        self._lengths: Ints = np.zeros(count + spare, np.int64)  # by row, as everything below
        self._sources: Ints = np.zeros(count + spare, np.int64)
        self._prefix = PrefixTracker(manifest.prefix, count + spare) if manifest.prefix is not None else None
        self._row = list(range(count + spare))
        self._slot = list(range(count + spare))
        self._calls = OrderedDict[tuple[int, ...], Call]()
        self._generation = -1

    def length(self, slot: int) -> int:
        """Return the number of tokens that a slot's sequence has consumed."""
        return int(self._lengths[self._row[slot]])

    @property
    def longest_piece(self) -> int | None:
        """Return the most tokens of a piece; None if a prompt must be one piece."""
        return self._limits.max_call

    def clear(self, slot: int, source: EncodedSource | None = None) -> None:
        """Begin a new sequence in a slot; `source` is that of an encoder-decoder, of one row."""
        row = self._row[slot]
        self._lengths[row] = 0
        self.states.clear(row)
        if source is not None:
            self.states.reserve(0, int(source.lengths[0]))
            self._sources[row] = source.lengths[0]
            self.states.fill_source(row, {name: buffer.read() for name, buffer in source.cross.items()})  # type: ignore[attr-defined]

    def must_read_again(self, slot: int, new: int) -> bool:
        """Return whether `new` more tokens take a sequence past the length where it begins again (LongRoPE)."""
        past, now = self._limits.reread_past, self.length(slot)
        if past is None or self.states.has_fixed:
            return False
        return 0 < now <= past < now + new

    def can_truncate(self, slot: int, length: int) -> bool:
        """Return whether a slot's state after its first `length` tokens is still there."""
        now = self.length(slot)
        if length == now:
            return True
        is_kept = not self.states.has_fixed and not self.states.has_wrapped(now)
        return length < now and is_kept and (self._prefix is None or length == 0)

    def truncate(self, slot: int, length: int) -> None:
        """Return a slot to its state after `length` tokens, if `can_truncate`."""
        assert self.can_truncate(slot, length)
        self._lengths[self._row[slot]] = length

    def longest_draft(self, slot: int) -> int:
        """Return how many tokens may follow the next one of a slot in one call, and be taken back by `rewind`."""
        return longest_draft(self._limits, self.length(slot)) if self._manifest.has_stable_prefixes else 0

    def rewind(self, slot: int, count: int) -> None:
        """Take back the last `count` tokens, which ring buffers must have room for.

        State that each call replaces is that before the slot's last call, if `count` are all tokens of it.
        """
        row = self._row[slot]
        self._lengths[row] -= count
        if count and self.states.has_fixed:
            self.states.flip(row, row + 1)

    def save(self, slot: int) -> Snapshot:
        """Return a copy of a slot's state."""
        row = self._row[slot]
        return self.states.save(row, int(self._lengths[row]))

    def load(self, slot: int, snapshot: Snapshot) -> None:
        """Set a slot to a state that `save` returned."""
        self.states.reserve(snapshot.length)
        row = self._row[slot]
        self.states.load(row, snapshot)
        self._lengths[row] = snapshot.length

    def run(self, steps: Mapping[int, Sequence[int]], piece: Piece | None = None) -> dict[int, Floats]:
        """Append tokens, and return the logits of each slot, float32 [n, vocab].

        `steps` are the next tokens by slot: n are all of them. Of a `piece`, n are those of `Piece.logits`. Raises
        PromptError for ids that do not fit, CacheFullError past the memory limit; both leave the slots unchanged.
        """
        if piece is not None and piece.slot in steps:
            raise PromptError(f"slot {piece.slot}: expected a step or a piece, got both")
        rows = {slot: np.asarray(tokens, np.int64) for slot, tokens in steps.items()}
        tail = np.asarray(piece.ids, np.int64) if piece is not None else np.zeros(0, np.int64)
        for slot, tokens in (*rows.items(), *([(piece.slot, tail)] if piece is not None else [])):
            self._check(slot, tokens)
        # Padding of ragged steps is written behind a row's tokens.
        width = max(map(len, rows.values()), default=0)
        longest = max((self.length(slot) + width for slot in rows), default=0)
        if piece is not None:
            longest = max(longest, self.length(piece.slot) + len(tail))
        self.states.reserve(longest)
        if piece is None:
            return self._run_steps(rows) if rows else {}
        if not rows:
            row = self._row[piece.slot]
            logits = self._call(row, tail[None], np.array([len(tail)]), _asked(piece))
            return {piece.slot: logits}
        return self._run_steps(rows, piece, tail)

    def _check(self, slot: int, tokens: Ints) -> None:
        if not len(tokens):
            raise PromptError(f"slot {slot}: expected at least one new token, got none")
        check_values(tokens[None], self._limits)
        if (tokens < 0).any():
            raise PromptError(f"slot {slot}: expected token ids, got {int(tokens.min())}")
        if (total := self.length(slot) + len(tokens)) > self._limits.max_seq_len:
            raise PromptError(f"slot {slot}: expected at most {self._limits.max_seq_len} tokens, got {total}")

    def _run_steps(
        self, rows: Mapping[int, Ints], piece: Piece | None = None, tail: Ints = _NO_TOKENS
    ) -> dict[int, Floats]:
        """Run a call with steps, whose slots become the first rows."""
        self._gather(list(rows))
        order = self._slot[: len(rows)]
        tail_asked = _asked(piece) if piece is not None else _NO_POSITIONS
        if piece is None and self.states.has_fixed and len(order) > 1:
            # Recurrences need a token in each group: the last step is the piece.
            piece = Piece(order.pop(), ())
            tail = rows[piece.slot]
            tail_asked = np.arange(len(tail))[None]
        ids = as_rows([rows[slot].tolist() for slot in order], "ids")
        new = np.array([len(rows[slot]) for slot in order], np.int64)
        asked = np.arange(ids.shape[1])[None].repeat(len(order), 0)
        row = self._row[piece.slot] if piece is not None else None
        logits = self._call(0, ids, new, asked, row, tail, tail_asked)
        each = ids.shape[1]
        found = {slot: logits[index * each :][: new[index]] for index, slot in enumerate(order)}
        return found if piece is None else {**found, piece.slot: logits[asked.size :]}

    def _call(
        self,
        start: int,
        ids: Ints,
        new: Ints,
        asked: Ints,
        piece: int | None = None,
        tail: Ints = _NO_TOKENS,
        tail_asked: Ints = _NO_POSITIONS,
    ) -> Floats:
        """Run the graph on rows from `start` on, int64 [n, seq], and on the tokens `tail` of the row `piece`.

        Returns float32 [positions, vocab]: at `asked`, int64 [n, positions], then at `tail_asked`, int64 [1, more].
        """
        stop = start + len(ids)
        self.states.align(start, stop)
        spare = self._spare(start, stop) if piece is None else piece
        feeds = self._feeds(0, np.arange(start, stop), ids, new, asked)
        # Recurrences need a token in each group: a piece without tokens has padding.
        padded = tail if len(tail) or not self.states.has_fixed else np.array([-1])
        feeds |= self._feeds(1, np.array([spare]), padded[None], np.array([len(tail)]), tail_asked)
        output = empty_output(self._logits, [asked.size + tail_asked.size])
        self._bound(start, stop, spare).run(feeds, {self._logits.name: output})
        self._lengths[start:stop] += new
        self.states.flip(start, stop)
        if piece is not None:
            self._lengths[piece] += len(tail)
            self.states.flip(piece, piece + 1)
        logits: Floats = to_float32(output, self._logits.dtype)[0]
        return logits

    def _feeds(self, group: int, rows: Ints, ids: Ints, new: Ints, asked: Ints) -> dict[str, NDArray[Any]]:
        past = self._lengths[rows]
        prefix = self._prefix
        if prefix is not None:
            own = prefix.of(rows)
            if new.any():
                own.add(ids, past)
                prefix.lengths[rows], prefix.blanks[rows] = own.lengths, own.blanks
            prefix = own
        return self._feeders[group].feeds(
            ids,
            past,
            new,
            asked,
            prefix=prefix,
            capacity=self.states.capacity,
            source=self._sources[rows] if self.states.source_slots else None,
            source_slots=self.states.source_slots,
        )

    def _spare(self, start: int, stop: int) -> int:
        """Return a row that a piece without tokens may bind: one outside of the steps, if there is any."""
        return stop if stop < len(self._row) else max(start - 1, 0)

    def _bound(self, start: int, stop: int, piece: int) -> Call:
        """Return the call whose groups have these rows; bound calls are kept."""
        if self._generation != self.states.generation:
            self._calls.clear()
            self._generation = self.states.generation
        key = (start, stop, piece, int(self.states.side[start]), int(self.states.side[piece]))
        if key not in self._calls:
            steps = self.states.bindings(self._packed.steps.state, start, stop)
            self._calls[key] = self._backend.bind(
                steps + self.states.bindings(self._packed.piece.state, piece, piece + 1)
            )
            if len(self._calls) > _CALLS:
                self._calls.popitem(last=False)
        self._calls.move_to_end(key)
        return self._calls[key]

    def _gather(self, slots: Sequence[int]) -> None:
        """Move these slots to the first rows, by as few exchanges as there are other slots among them."""
        wanted = set(slots)
        outside = [self._row[slot] for slot in slots if self._row[slot] >= len(slots)]
        for row in range(len(slots)):
            if self._slot[row] not in wanted:
                self._swap(row, outside.pop())

    def _swap(self, first: int, second: int) -> None:
        self.states.swap(first, second, (int(self._lengths[first]), int(self._lengths[second])))
        both, other = [first, second], [second, first]
        self._lengths[both], self._sources[both] = self._lengths[other], self._sources[other]
        if self._prefix is not None:
            self._prefix.lengths[both] = self._prefix.lengths[other]
            self._prefix.blanks[both] = self._prefix.blanks[other]
        self._slot[first], self._slot[second] = self._slot[second], self._slot[first]
        self._row[self._slot[first]], self._row[self._slot[second]] = first, second


def _asked(piece: Piece) -> Ints:
    """Return the positions whose logits are computed, int64 [1, n]."""
    begin = {"none": len(piece.ids), "last": len(piece.ids) - 1, "all": 0}[piece.logits]
    return np.arange(begin, len(piece.ids))[None]
