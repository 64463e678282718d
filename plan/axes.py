"""Named axes of state tensors, and the size of ring buffers."""

from __future__ import annotations

CAPACITY = "capacity"
"""The slots of a KV cache."""

SOURCE = "source"
"""The source tokens of an encoder-decoder."""


def ring_axis(window: int) -> str:
    """Return the name of the axis of the slots of a sliding window's ring buffer."""
    return f"ring_{window}"


def ring_slots(window: int, longest_call: int | None) -> int:
    """Return the largest number of slots of a sliding window's ring buffer.

    With window + S − 1 slots, a call of S tokens overwrites no key that is visible to one of its queries.
    """
    assert longest_call is not None
    return -(-(window + longest_call - 1) // 64) * 64
