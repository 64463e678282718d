"""The small inputs of one call, each by its role."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archc.plan.dtypes import DTYPES
from archc.plan.manifest import Encoder, Input, Manifest, ring_slots
from archc.runtime.inputs.masks import build_mask
from archc.runtime.inputs.prefix_lm import PrefixTracker
from archc.runtime.state.state import GROWING, RING

Ints = NDArray[np.int64]


class Feeder:
    """Turns tokens and lengths into the arrays that the graph's inputs want."""

    def __init__(
        self, manifest: Manifest | Encoder, keys: Callable[[int, int], int] = lambda total, seq: total
    ) -> None:
        """`keys` says how long a mask over that many live keys is to be, in a call of so many tokens."""
        self._keys = keys
        self._inputs = manifest.inputs
        self._last_position = manifest.limits.max_seq_len - 1
        self._longest_call = manifest.limits.max_call

    def feeds(
        self,
        ids: Ints,
        past: Ints,
        new: Ints,
        logit_positions: Ints,
        token_types: Ints | None = None,
        prefix: PrefixTracker | None = None,
        capacity: int = 0,
        source: Ints | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Return the inputs by name for one call.

        `ids` int64 [batch, seq] with -1 pads on the right, `past` and `new` int64 [batch] lengths, `logit_positions`
        int64 [batch, n], `token_types` int64 [batch, seq] or None for zeros, `prefix` what is known of the prompts of a
        plan that reads them both ways, `capacity` the room a row has in the cache, `source` int64 [batch] the lengths
        of what an encoder read.
        """
        seq = ids.shape[1]
        total = int(past.max()) + seq
        if capacity:
            # A full row that takes in padding would write past the end. Nothing will ask for what it has.
            total = min(self._keys(min(total, capacity), seq), capacity)

        def value(item: Input) -> NDArray[Any]:
            match item.role:
                case "token_ids":
                    return np.maximum(ids, 0)  # padding is hidden by the masks, so any token will do
                case "positions":
                    # Padding repeats its row's last position: a row's greatest position is then its length, which
                    # length-dependent rotations read, and a table of learned positions has a row for all of them.
                    steps = np.minimum(np.arange(seq), np.maximum(new - 1, 0)[:, None])
                    positions: Ints = np.minimum(past[:, None] + steps, self._last_position)
                    return positions
                case "block_positions":
                    assert prefix is not None
                    return prefix.positions(past, seq)
                case "write_indices":
                    return np.minimum(past, capacity - seq) if capacity else past.copy()
                case "lengths":
                    return new.copy()
                case "logit_positions":
                    return logit_positions
                case "token_types":
                    return np.zeros_like(ids) if token_types is None else token_types
                case "mask":
                    assert item.mask is not None
                    keys, slots = total, None
                    if item.mask.ring:
                        assert item.mask.window is not None
                        slots = min(ring_slots(item.mask.window, self._longest_call), capacity)
                        keys = slots if item.shape[-1] == f"{RING}_{item.mask.window}" else min(slots, total)
                    elif item.shape[-1] == GROWING:
                        keys = capacity
                    return build_mask(
                        item.mask, past, new, seq, keys, prefix.lengths if prefix else None, slots, source
                    )

        return {i.name: np.ascontiguousarray(value(i), DTYPES[i.dtype].storage) for i in self._inputs}
