"""Named axes of state tensors, and the size of ring buffers."""

from __future__ import annotations

import re
from collections.abc import Iterable

CAPACITY = "capacity"
"""The slots of a KV cache."""

_BLOCKS = re.compile(rf"{CAPACITY}_([1-9][0-9]{{0,4}})")

SOURCE = "source"
"""The source tokens of an encoder-decoder."""


def block_axis(block: int) -> str:
    """Return the name of the axis of the slots of a cache that has one for each block of tokens."""
    return f"{CAPACITY}_{block}"


def block_slots(block: int, tokens: int) -> int:
    """Return the slots for the whole blocks of so many tokens, and for one more, which a call may write."""
    return tokens // block + 1


def slots_of(axis: int | str, capacity: int) -> int | None:
    """Return the slots on an axis of the caches of sequences of `capacity` tokens; None for another axis."""
    if axis == CAPACITY:
        return capacity
    match = _BLOCKS.fullmatch(str(axis))
    return block_slots(int(match[1]), capacity) if match is not None else None


def has_slots(shape: Iterable[int | str]) -> bool:
    """Return whether a tensor of that shape has slots for the tokens of a sequence, or for blocks of them."""
    return any(slots_of(axis, 1) is not None for axis in shape)


def ring_axis(window: int) -> str:
    """Return the name of the axis of the slots of a sliding window's ring buffer."""
    return f"ring_{window}"


def ring_slots(window: int, longest_call: int | None) -> int:
    """Return the largest number of slots of a sliding window's ring buffer.

    With window + S − 1 slots, a call of S tokens overwrites no key that is visible to one of its queries.
    """
    assert longest_call is not None
    return -(-(window + longest_call - 1) // 64) * 64
