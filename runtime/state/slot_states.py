"""State tensors of a fixed number of rows, of which a call reads and writes a range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archc.plan.axes import SOURCE, block_slots, ring_slots
from archc.plan.dtypes import DTYPES
from archc.plan.records import Limits, State
from archc.runtime.backends.base import Binding
from archc.runtime.backends.ort.backend import OrtBackend
from archc.runtime.backends.ort.buffer import OrtBuffer
from archc.runtime.errors import CacheFullError

_STEP = 64  # slots: capacities are multiples
_LONG = 4096  # tokens of a sequence whose states are compared


@dataclass(frozen=True)
class Snapshot:
    """The state of one row after `length` tokens; `arrays` by state name, cut to the slots in use."""

    length: int
    arrays: Mapping[str, NDArray[Any]]

    @property
    def bytes(self) -> int:
        """Return its size in bytes."""
        return sum(array.nbytes for array in self.arrays.values())


class SlotStates:
    """The state of `count` rows on the CPU.

    `kv` and `ring` states are updated in place. A `fixed` state has two buffers: a call reads one and fills the other;
    `side` is the buffer that is current for each row. `limit` is the most bytes of all states.
    """

    def __init__(
        self, backend: OrtBackend, states: Sequence[State], count: int, limits: Limits, limit: int | None = None
    ) -> None:
        self._backend, self._states, self._count = backend, states, count
        self._longest_call, self._longest, self._limit = limits.max_call, limits.max_seq_len, limit
        self.capacity = self.source_slots = self.generation = 0
        self.side: NDArray[np.int64] = np.zeros(count, np.int64)
        self._buffers: dict[str, list[OrtBuffer]] = {}
        self._resize(_STEP, _STEP if any(state.kind == "cross" for state in states) else 0)

    @property
    def has_fixed(self) -> bool:
        """Return whether some state is replaced by each call, so that no earlier one is left."""
        return any(state.kind == "fixed" for state in self._states)

    def bytes_at(self, capacity: int, source_slots: int | None = None) -> int:
        """Return the bytes of all states with that many slots a row."""
        source_slots = self.source_slots if source_slots is None else source_slots
        return sum(
            DTYPES[state.dtype].nbytes(int(np.prod(self._shape(state, capacity, source_slots), dtype=object)))
            * (2 if state.kind == "fixed" else 1)
            for state in self._states
        )

    def share(self, limit: int, other: SlotStates) -> None:
        """Divide a limit in bytes between these states and others, in proportion to their sizes for long sequences."""
        own, its = (each.bytes_at(_LONG) for each in (self, other))
        self._limit = limit * own // (own + its)
        other._limit = limit - self._limit

    def can_reserve(self, slots: int) -> bool:
        """Return whether the memory limit permits that many slots a row."""
        return slots <= self.capacity or self._limit is None or self.bytes_at(self._rounded(slots)) <= self._limit

    def reserve(self, slots: int, source_slots: int = 0) -> None:
        """Grow to at least these slots a row; raise CacheFullError past the memory limit, before any allocation."""
        if slots <= self.capacity and source_slots <= self.source_slots:
            return
        capacity = self.capacity
        if slots > capacity:
            preferred = self._rounded(max(slots, int(capacity * self._backend.growth)))
            capacity = preferred if self.can_reserve(preferred) else self._rounded(slots)
        source_slots = max(self.source_slots, -(-source_slots // _STEP) * _STEP)
        needed = self.bytes_at(capacity, source_slots)
        if self._limit is not None and needed > self._limit:
            raise CacheFullError(
                f"cache: expected at most {self._limit:,} bytes, and {capacity} tokens a sequence require {needed:,}; "
                "use shorter prompts or fewer slots, or raise the limit of cache memory"
            )
        self._resize(capacity, source_slots)

    def _rounded(self, slots: int) -> int:
        return max(slots, min(-(-slots // _STEP) * _STEP, self._longest))

    def bindings(self, names: Sequence[State], start: int, stop: int) -> list[Binding]:
        """Return the bindings of rows `start` to `stop`, which are on one side, for a group's states."""
        side = int(self.side[start])
        bindings = []
        for state, named in zip(self._states, names, strict=True):
            views = [self._backend.rows(buffer, start, stop) for buffer in self._buffers[state.input]]
            target = views[1 - side] if state.kind == "fixed" else None
            bindings.append(Binding(named.input, named.output, views[side if target else 0], target))
        return bindings

    def flip(self, start: int, stop: int) -> None:
        """Note that a call has replaced the fixed state of rows `start` to `stop`."""
        self.side[start:stop] = 1 - self.side[start:stop]

    def align(self, start: int, stop: int) -> None:
        """Bring the fixed state of rows `start` to `stop` to one side."""
        if not self.has_fixed or stop - start < 2:
            return
        side = int(np.bincount(self.side[start:stop], minlength=2).argmax())
        for row in np.flatnonzero(self.side[start:stop] != side) + start:
            for first, second in self._fixed():
                (second if side else first)[row] = (first if side else second)[row]
            self.side[row] = side

    def _fixed(self) -> list[tuple[NDArray[Any], NDArray[Any]]]:
        pairs = []
        for state in self._states:
            if state.kind == "fixed":
                first, second = (buffer.read() for buffer in self._buffers[state.input])
                pairs.append((first, second))
        return pairs

    def clear(self, row: int) -> None:
        """Begin a new sequence: fixed state is zero; other slots are hidden by masks until they are written."""
        for pair in self._fixed():
            pair[int(self.side[row])][row] = 0

    def swap(self, first: int, second: int, lengths: tuple[int, int]) -> None:
        """Exchange two rows with these numbers of tokens."""
        saved = self.save(first, lengths[0])
        self.load(first, self.save(second, lengths[1], copy=False))
        self.load(second, saved)

    def save(self, row: int, length: int, copy: bool = True) -> Snapshot:
        """Return the state of a row after `length` tokens."""
        arrays = {}
        for state in self._states:
            array = self._current(state, row)
            part = array[self._live(state, length)]
            arrays[state.input] = part.copy() if copy else part
        return Snapshot(length, arrays)

    def layout(self, length: int) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """Return shape and dtype of each array of a snapshot after `length` tokens, without sources."""
        found = {}
        for state in self._states:
            slots = _slots(state, length, self._longest_call)
            shape = tuple(slots if isinstance(size, str) else size for size in state.shape[1:])
            found[state.input] = (shape, DTYPES[state.dtype].storage)
        return found

    def load(self, row: int, snapshot: Snapshot) -> None:
        """Set the state of a row; there must be slots for it."""
        for state in self._states:
            array, part = self._current(state, row), snapshot.arrays[state.input]
            array[tuple(slice(size) for size in part.shape)] = part

    def fill_source(self, row: int, cross: Mapping[str, NDArray[Any]]) -> None:
        """Set the cross states of a row: arrays by state name, [1, …] with the slots of its own source."""
        for state in self._states:
            if state.kind == "cross":
                part = cross[state.input][0]
                self._current(state, row)[tuple(slice(size) for size in part.shape)] = part

    def has_wrapped(self, length: int) -> bool:
        """Return whether a row of `length` tokens has overwritten keys of a ring buffer."""
        return any(
            state.window is not None and length > ring_slots(state.window, self._longest_call) for state in self._states
        )

    def _current(self, state: State, row: int) -> NDArray[Any]:
        buffers = self._buffers[state.input]
        current: NDArray[Any] = buffers[int(self.side[row]) if len(buffers) > 1 else 0].read()[row]
        return current

    def _live(self, state: State, length: int) -> tuple[slice, ...]:
        """Return the part of a row's state that `length` tokens use."""
        if state.kind not in ("kv", "ring", "block"):
            return ()
        length = block_slots(state.block, length) if state.block is not None else length
        return tuple(slice(length) if isinstance(size, str) else slice(None) for size in state.shape[1:])

    def _shape(self, state: State, capacity: int, source_slots: int) -> tuple[int, ...]:
        slots = _slots(state, capacity, self._longest_call)
        sizes = {"batch": self._count, SOURCE: source_slots}
        return tuple(sizes.get(size, slots) if isinstance(size, str) else size for size in state.shape)

    def _resize(self, capacity: int, source_slots: int) -> None:
        """Replace the buffers by larger ones; those of earlier views are no longer current."""
        new: dict[str, list[OrtBuffer]] = {}
        for state in self._states:
            shape = self._shape(state, capacity, source_slots)
            old = self._buffers.get(state.input, [])
            if old and old[0].shape == shape:
                new[state.input] = old
                continue
            new[state.input] = [
                self._backend.allocate(shape, state.dtype) for _ in range(2 if state.kind == "fixed" else 1)
            ]
            for before, after in zip(old, new[state.input], strict=False):
                # A ring buffer that still grows has not wrapped around: its slots are absolute positions.
                after.read()[tuple(slice(size) for size in before.shape)] = before.read()
        self._buffers, self.capacity, self.source_slots = new, capacity, source_slots
        self.generation += 1


def _slots(state: State, length: int, longest_call: int | None) -> int:
    """Return the slots of a state's row of that many tokens."""
    if state.block is not None:
        return block_slots(state.block, length)
    return length if state.window is None else min(length, ring_slots(state.window, longest_call))
