"""The small inputs of one call, computed by role."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archc.plan.axes import CAPACITY, ring_axis, ring_slots
from archc.plan.dtypes import DTYPES
from archc.plan.records import Input, Limits
from archc.runtime.inputs.masks import build_mask
from archc.runtime.inputs.prefix_lm import PrefixTracker

Ints = NDArray[np.int64]


class Feeder:
    """Computes the graph's inputs from token ids and lengths.

    `mask_length(total, seq)` is the length of a mask over `total` live keys in a call of `seq` tokens.
    """

    def __init__(
        self,
        inputs: Sequence[Input],
        limits: Limits,
        mask_length: Callable[[int, int], int] = lambda total, seq: total,
    ) -> None:
        self._mask_length = mask_length
        self._inputs = inputs
        self._last_position = limits.max_seq_len - 1
        self._longest_call = limits.max_call

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
        source_slots: int | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Return the inputs of one call by name.

        `ids` are int64 [batch, seq] with -1 pads on the right, `past` and `new` int64 [batch] lengths,
        `logit_positions` int64 [batch, n], `token_types` int64 [batch, seq] or None for zeros, `prefix` the prompts of
        a prefix-LM, `capacity` the slots of a row in the cache, and `source` int64 [batch] lengths of the source, of
        which the cross states have `source_slots`, by default the longest.
        """
        seq = ids.shape[1]
        total = max(int(past.max()) + seq, 1)  # a reshape cannot infer an axis of a tensor without elements
        if capacity:
            # The padding of a full row would be past the end of the cache; nothing reads its outputs.
            total = min(self._mask_length(min(total, capacity), seq), capacity)

        def value(item: Input) -> NDArray[Any]:
            match item.role:
                case "token_ids":
                    return np.maximum(ids, 0)  # masks hide padding, so any token is valid there
                case "positions":
                    # Padding repeats its row's last position: the maximum of a row is then its length, which
                    # length-dependent rotary embeddings read, and tables of learned positions are not exceeded.
                    steps = np.minimum(np.arange(seq), np.maximum(new - 1, 0)[:, None])
                    positions: Ints = np.minimum(past[:, None] + steps, self._last_position)
                    return positions
                case "block_positions":
                    assert prefix is not None
                    return prefix.positions(past, seq)
                case "write_indices":
                    # A full row writes its padding over its own last slots, because there is none after them.
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
                        keys = slots if item.shape[-1] == ring_axis(item.mask.window) else min(slots, total)
                    elif item.shape[-1] == CAPACITY:
                        keys = capacity
                    prompts = prefix.lengths if prefix else None
                    return build_mask(item.mask, past, new, seq, keys, prompts, slots, source, source_slots)

        return {i.name: np.ascontiguousarray(value(i), DTYPES[i.dtype].storage) for i in self._inputs}
