"""Sequences that come and go in slots, against each of them alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from archc.plan.reader import PACKED
from archc.proof.built import Built
from archc.runtime.backends.ort.backend import OrtBackend
from archc.runtime.backends.prepack import PREPACK_DEFAULT
from archc.runtime.serving.slots import Piece, Slots
from archc.runtime.state.encoder import EncoderRunner

SLOTS = 3


class Schedule:
    """Slots, and a sequence of its own in a batch of one for each that is in use; `error` is the largest difference."""

    def __init__(self, built: Built, backend: OrtBackend) -> None:
        self.built, self.engine = built, built.engine
        self.slots = Slots(self.engine.manifest, backend, SLOTS)
        self.random = np.random.default_rng(0)
        self.alone: dict[int, object] = {}
        self.error = 0.0

    def begin(self, slot: int, length: int) -> list[int]:
        """Begin a new sequence in a slot; return its prompt."""
        source = self.built.sources(1, 5 + slot, slot)
        runner: EncoderRunner | None = self.engine._encoder
        self.slots.clear(slot, runner.run(source) if runner is not None and source is not None else None)
        self.alone[slot] = self.engine.sequences(1, None, source)
        return self.built.ids(1, length, int(self.random.integers(1000)))[0]

    def run(self, steps: Mapping[int, Sequence[int]], piece: Piece | None = None) -> None:
        """Make one call, and compare its logits with those of each sequence alone."""
        logits = self.slots.run(steps, piece)
        given = {**steps, **({piece.slot: piece.ids} if piece is not None else {})}
        for slot, ids in given.items():
            expected = self.alone[slot].append([list(ids)], logits="all")[0]  # type: ignore[attr-defined]
            found = logits[slot]
            asked = piece.logits if piece is not None and slot == piece.slot else "all"
            assert len(found) == {"none": 0, "last": 1, "all": len(ids)}[asked]
            if len(found):
                self.error = max(self.error, float(np.abs(found - expected[-len(found) :]).max()))

    def rewind(self) -> None:
        """Append tokens to two slots and take some back, several times, far enough for windows to pass."""
        lengths = {slot: self.slots.length(slot) for slot in (0, 2)}
        for _ in range(12):
            room = min(self.slots.longest_draft(slot) for slot in lengths)
            if room < 1 or any(self.slots.length(slot) > length + 24 for slot, length in lengths.items()):
                return
            wrong = self.random.integers(3, self.built.vocab, min(room, 5)).tolist()
            before = {slot: list(self.step(slot)[slot]) for slot in lengths}
            self.slots.run({0: before[0] + wrong, 2: before[2]})
            if self.slots.states.has_fixed:
                self.slots.rewind(0, 1 + len(wrong))
                self.slots.run({0: before[0]})
            else:
                self.slots.rewind(0, len(wrong))
            for slot, ids in before.items():
                self.alone[slot].append([ids])  # type: ignore[attr-defined]
            self.run(self.step(2, 0))

    def step(self, *slots: int) -> dict[int, list[int]]:
        """Return a random token for each slot."""
        return {slot: [int(self.random.integers(3, self.built.vocab))] for slot in slots}


def largest_difference(built: Built) -> float:
    """Return the largest difference of logits in a schedule with pieces, steps, ragged steps and a slot used again."""
    backend = OrtBackend(built.engine.plan, 1, PREPACK_DEFAULT, PACKED, False)
    schedule = Schedule(built, backend)
    at_once = schedule.slots.longest_piece is None
    for slot, length in enumerate((7, 9, 6)):
        prompt = schedule.begin(slot, length)
        parts = [prompt] if at_once else [prompt[:3], prompt[3:]]
        for part in parts:
            asked: Literal["none", "last", "all"] = "last" if part is parts[-1] else "none"
            schedule.run(schedule.step(*range(slot)), Piece(slot, part, "all" if slot == 1 else asked))
    schedule.run(schedule.step(2, 0, 1))
    prompt = schedule.begin(0, 8)
    schedule.run({2: schedule.step(2)[2] * 2, **schedule.step(1)}, Piece(0, prompt))
    schedule.run(schedule.step(0, 2))
    schedule.rewind()
    return schedule.error
