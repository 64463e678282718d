"""Tokens whose state is still in a slot, and the choice of the slot that shares most of a new prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from archc.runtime.inputs.prompts import common_prefix
from archc.runtime.serving.slots import Slots
from archc.runtime.state.slot_states import Snapshot

_SHORTEST = 8  # tokens: shorter prefixes are computed anew


@dataclass
class Kept:
    """The contents of a free slot: its tokens, and for state that cannot rewind a snapshot of an earlier end."""

    tokens: Sequence[int] = ()
    snapshot: Snapshot | None = None
    used: int = 0  # the time of the last use, as a count


@dataclass
class Prefixes:
    """The tokens of free slots by slot."""

    slots: Slots
    kept: dict[int, Kept] = field(default_factory=dict)
    clock: int = 0

    def keep(self, slot: int, tokens: Sequence[int]) -> None:
        """Note the tokens that a slot has consumed, when its sequence ends."""
        self.clock += 1
        snapshot = self.kept[slot].snapshot if slot in self.kept else None
        self.kept[slot] = Kept(list(tokens), snapshot, self.clock)

    def mark(self, slot: int, tokens: Sequence[int]) -> None:
        """Take a snapshot of a slot whose state cannot rewind, where a later prompt is likely to leave this one."""
        if self.slots.states.has_fixed:
            self.kept[slot] = Kept(list(tokens), self.slots.save(slot), self.clock)

    def put(self, slot: int, tokens: Sequence[int], snapshot: Snapshot) -> None:
        """Set a free slot to a state that was saved after these tokens."""
        self.slots.load(slot, snapshot)
        self.clock += 1
        self.kept[slot] = Kept(list(tokens), snapshot, self.clock)

    def forget(self, slot: int) -> None:
        """Note that a slot has nothing to share."""
        self.kept.pop(slot, None)

    def choose(self, free: Sequence[int], prompt: Sequence[int]) -> tuple[int, int]:
        """Return a free slot, and how many tokens of the prompt its state may keep; at least one is left to compute.

        Without a shared prefix, the slot that was used longest ago.
        """
        best, shared = -1, 0
        for slot in free:
            if slot in self.kept and (length := self._usable(slot, prompt)) > shared:
                best, shared = slot, length
        if shared >= _SHORTEST:
            return best, shared
        return min(free, key=lambda slot: self.kept[slot].used if slot in self.kept else 0), 0

    def _usable(self, slot: int, prompt: Sequence[int]) -> int:
        kept = self.kept[slot]
        common = common_prefix(kept.tokens, prompt[:-1])
        if self.slots.can_truncate(slot, common):
            return common
        if kept.snapshot is not None and kept.snapshot.length <= common:
            return kept.snapshot.length
        return 0

    def restore(self, slot: int, length: int) -> None:
        """Bring a slot to its state after `length` tokens, which `choose` returned."""
        if self.slots.can_truncate(slot, length):
            self.slots.truncate(slot, length)
            return
        snapshot = self.kept[slot].snapshot
        assert snapshot is not None
        self.slots.load(slot, snapshot)
