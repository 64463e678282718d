"""The state of a draft plan for the sequences of a service, in slots with the same numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from archc.runtime.serving.slots import Floats, Piece, Slots
from archc.runtime.state.slot_states import Snapshot


class DraftSlots:
    """Slots of a draft plan. A long text is read by pieces of at most `piece` tokens, one in each proposal."""

    def __init__(self, slots: Slots, piece: int) -> None:
        self._slots, self._piece = slots, min(piece, slots.longest_piece or piece)

    def clear(self, key: int) -> None:
        """Begin a new sequence."""
        self._slots.clear(key)

    def rewind(self, key: int, count: int) -> None:
        """Take back the last `count` tokens."""
        self._slots.rewind(key, count)

    def save(self, key: int) -> Snapshot:
        """Return a copy of the state."""
        return self._slots.save(key)

    def load(self, key: int, saved: Snapshot) -> None:
        """Return to a saved state."""
        self._slots.load(key, saved)

    def append(self, ids: Mapping[int, Sequence[int]]) -> Mapping[int, Floats]:
        """Append tokens, and return the logits after them; none for all where the memory limit is reached."""
        width = max(map(len, ids.values()))
        if not self._slots.states.can_reserve(max(self._slots.length(key) for key in ids) + width):
            return {}
        return {key: logits[-1] for key, logits in self._slots.run(ids).items()}

    def read(self, key: int, ids: Sequence[int]) -> int:
        """Append a piece of a text, and return its number of tokens; 0 where the memory limit is reached."""
        piece = ids[: self._piece]
        if not self._slots.states.can_reserve(self._slots.length(key) + len(piece)):
            return 0
        self._slots.run({}, Piece(key, piece, "none"))
        return len(piece)
