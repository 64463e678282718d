"""Bytes that the state of one sequence takes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from archc.plan.axes import CAPACITY, SOURCE, has_slots, ring_slots
from archc.plan.dtypes import DTYPES
from archc.plan.records import State


@dataclass(frozen=True)
class StateBytes:
    """Bytes for each token, for each source token of an encoder-decoder, and for each sequence whatever its length."""

    per_token: int
    per_source_token: int
    fixed: int


def state_bytes(states: Iterable[State], longest_call: int | None) -> StateBytes:
    """Return the sums over all states; a ring buffer has its largest size, which `longest_call` determines."""
    sums = {CAPACITY: 0, SOURCE: 0, "": 0}
    for state in states:
        axis = CAPACITY if has_slots(state.shape) else SOURCE if SOURCE in state.shape else ""
        elements = math.prod(size for size in state.shape if isinstance(size, int))
        if state.window is not None:
            elements *= ring_slots(state.window, longest_call)
        sums[axis] += -(-DTYPES[state.dtype].nbytes(elements) // (state.block or 1))
    return StateBytes(sums[CAPACITY], sums[SOURCE], sums[""])
