"""Attention masks of a call, from their descriptions in the manifest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from archc.plan.records import Mask

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def build_mask(
    mask: Mask,
    past: Ints,
    new: Ints,
    seq: int,
    total: int,
    prefix: Ints | None = None,
    slots: int | None = None,
    source: Ints | None = None,
    source_slots: int | None = None,
) -> Bools:
    """Return the bool mask [batch, 1, seq, total]: true where key `total` is visible to query `seq`.

    `past` and `new`, int64 [batch], count each row's earlier tokens and those of this call; the rest of `seq` is
    padding. Padding sees at least one key, because a softmax over none is NaN. `prefix`, int64 [batch], are the prompt
    tokens of each row for a prefix mask, `slots` the size of the ring buffer for a ring mask, and `source`, int64
    [batch], the source tokens of each row for a source mask, among `source_slots`, by default the longest.
    """
    if mask.kind == "source":
        assert source is not None
        longest = source.max() if source_slots is None else source_slots
        real = (np.arange(longest) < source[:, None])[:, None, None, :]
        return np.broadcast_to(real, (len(source), 1, seq, real.shape[-1]))
    if mask.ring:
        assert slots is not None
        return _ring_mask(mask, past, seq, total, slots)
    query = (past[:, None] + np.arange(seq))[:, None, :, None]
    key = np.arange(total)
    if mask.kind == "bidirectional":
        return _bidirectional_mask(mask, past, new, query, key)
    visible: Bools = key <= query
    if prefix is not None and mask.kind == "prefix":
        visible = visible | (key < prefix[:, None, None, None])
    if mask.window is not None:
        visible &= _is_near(mask, query, key)
    return visible


def _is_near(mask: Mask, query: Ints, key: Ints) -> Bools:
    """Return whether an earlier key is in a query's window or chunk."""
    assert mask.window is not None
    first = query - query % mask.window if mask.chunked else query - mask.window + 1
    near: Bools = key >= first
    return near


def _ring_mask(mask: Mask, past: Ints, seq: int, total: int, slots: int) -> Bools:
    """Return the mask over the first `total` of `slots` slots of a ring buffer, each with the latest key there."""
    query = (past[:, None] + np.arange(seq))[:, None, :, None]
    newest = (past + seq - 1)[:, None]  # padding is written as well, over keys outside of the window
    position = (newest - (newest - np.arange(total)) % slots)[:, None, None]
    visible: Bools = (position >= 0) & (position <= query) & _is_near(mask, query, position)
    return visible


def _bidirectional_mask(mask: Mask, past: Ints, new: Ints, query: Ints, key: Ints) -> Bools:
    """Return the mask over the real tokens of each row; padding sees itself."""
    batch, _, seq, _ = query.shape
    visible = np.broadcast_to(key < (past + new)[:, None, None, None], (batch, 1, seq, len(key)))
    if mask.window is not None:
        is_near = key // mask.window == query // mask.window if mask.chunked else np.abs(key - query) <= mask.window
        visible = visible & is_near
    is_padding = np.arange(seq) >= new[:, None]
    itself: Bools = is_padding[:, None, :, None] & (key == query)
    return visible | itself
