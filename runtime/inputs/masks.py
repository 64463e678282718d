"""Mask inputs, from their descriptions in the manifest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from archc.plan.manifest import Mask


def build_mask(
    mask: Mask,
    past: NDArray[np.int64],
    new: NDArray[np.int64],
    seq: int,
    total: int,
    prefix: NDArray[np.int64] | None = None,
    slots: int | None = None,
    source: NDArray[np.int64] | None = None,
) -> NDArray[np.bool_]:
    """Return the bool mask [batch, 1, seq, total]: true where query `seq` may see key `total`.

    Over a ring of `slots` slots the keys are the ring's first `total`, each of the last token that it holds.

    `prefix`, int64 [batch], are the tokens of each row's prompt, for a prefix mask.  `source`, int64 [batch], are those
    of each row's source, for a source mask, whose keys they are.  `past` and `new`, int64 [batch], count each row's
    earlier tokens and this call's; the rest of `seq` is padding, which sees something too, since a softmax over nothing
    is NaN.
    """
    if mask.kind == "source":
        assert source is not None
        real = (np.arange(source.max()) < source[:, None])[:, None, None, :]
        return np.broadcast_to(real, (len(source), 1, seq, real.shape[-1]))
    query = (past[:, None] + np.arange(seq))[:, None, :, None]
    key = np.arange(total)
    if mask.ring:
        assert slots is not None
        assert mask.window is not None
        newest = (past + seq - 1)[:, None]  # padding is written too, over tokens that have left the window
        held = (newest - (newest - key) % slots)[:, None, None]
        inside: NDArray[np.bool_] = (held >= 0) & (held <= query) & (held > query - mask.window)
        return inside
    if mask.kind != "bidirectional":
        seen: NDArray[np.bool_] = key <= query
        if prefix is not None and mask.kind == "prefix":
            seen = seen | (key < prefix[:, None, None, None])
        if mask.window is not None:
            seen &= key > query - mask.window
        return seen
    seen = np.broadcast_to(key < (past + new)[:, None, None, None], (len(past), 1, seq, total))
    if mask.window is not None:
        seen = seen & (np.abs(key - query) <= mask.window)
    padding = np.arange(seq) >= new[:, None]
    itself: NDArray[np.bool_] = padding[:, None, :, None] & (key == query)
    return seen | itself
