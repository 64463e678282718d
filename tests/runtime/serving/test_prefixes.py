"""The choice of the slot that shares most of a prompt, for state that rewinds and state that does not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from archc.runtime.serving.prefixes import Prefixes, common_prefix
from archc.runtime.state.slot_states import Snapshot

SYSTEM = list(range(100, 120))


class FakeSlots:
    """Slots with lengths alone; `rewinds` is false for recurrent state."""

    def __init__(self, rewinds: bool) -> None:
        self.states = SimpleNamespace(has_fixed=not rewinds)
        self.lengths = dict.fromkeys(range(3), 0)
        self.rewinds = rewinds

    def can_truncate(self, slot: int, length: int) -> bool:
        return length == self.lengths[slot] or (self.rewinds and length < self.lengths[slot])

    def truncate(self, slot: int, length: int) -> None:
        self.lengths[slot] = length

    def save(self, slot: int) -> Snapshot:
        return Snapshot(self.lengths[slot], {})

    def load(self, slot: int, snapshot: Snapshot) -> None:
        self.lengths[slot] = snapshot.length


def kept(rewinds: bool, *sequences: list[int]) -> tuple[Prefixes, Any]:
    slots = FakeSlots(rewinds)
    prefixes = Prefixes(slots)  # type: ignore[arg-type]
    for slot, tokens in enumerate(sequences):
        slots.lengths[slot] = len(tokens)
        prefixes.keep(slot, tokens)
    return prefixes, slots


def test_common_prefix() -> None:
    cases = (([], [1], 0), ([1, 2], [1, 2], 2), ([1, 2, 3], [1, 2], 2), ([1, 2, 3], [1, 9, 3], 1), ([5], [6], 0))
    assert [common_prefix(first, second) for first, second, _ in cases] == [length for *_, length in cases]


def test_the_slot_with_the_longest_common_prefix_is_chosen() -> None:
    prefixes, slots = kept(True, SYSTEM[:10], [*SYSTEM, 1, 2, 3], [7] * 30)
    slot, shared = prefixes.choose([0, 1, 2], [*SYSTEM, 1, 9])
    assert (slot, shared) == (1, len(SYSTEM) + 1)
    prefixes.restore(slot, shared)
    assert slots.lengths[slot] == shared


def test_the_last_token_of_a_prompt_is_computed() -> None:
    prefixes, _ = kept(True, SYSTEM)
    assert prefixes.choose([0], SYSTEM) == (0, len(SYSTEM) - 1)


def test_a_short_common_prefix_is_not_worth_a_slot_that_was_used_lately() -> None:
    prefixes, _ = kept(True, [1] * 20, [2, 2, 9, 9, 9, 9, 9, 9, 9, 9])
    assert prefixes.choose([0, 1], [2, 2, 3, 4]) == (0, 0)


def test_a_busy_slot_is_not_chosen() -> None:
    prefixes, _ = kept(True, SYSTEM, [3] * 20)
    assert prefixes.choose([1], [*SYSTEM, 4]) == (1, 0)


def test_recurrent_state_is_used_where_it_ends() -> None:
    prefixes, _ = kept(False, SYSTEM)
    assert prefixes.choose([0], [*SYSTEM, 4, 5]) == (0, len(SYSTEM))
    assert prefixes.choose([0], [*SYSTEM[:15], 4, 5]) == (0, 0)


def test_recurrent_state_returns_to_the_snapshot_of_the_prompt() -> None:
    prefixes, slots = kept(False)
    slots.lengths[0] = len(SYSTEM)
    prefixes.mark(0, SYSTEM)
    slots.lengths[0] = len(SYSTEM) + 6
    prefixes.keep(0, [*SYSTEM, 1, 2, 3, 4, 5, 6])
    slot, shared = prefixes.choose([0], [*SYSTEM, 8, 9])
    assert (slot, shared) == (0, len(SYSTEM))
    prefixes.restore(slot, shared)
    assert slots.lengths[0] == len(SYSTEM)


def test_a_forgotten_slot_shares_nothing() -> None:
    prefixes, _ = kept(True, SYSTEM)
    prefixes.forget(0)
    assert prefixes.choose([0], [*SYSTEM, 4]) == (0, 0)
