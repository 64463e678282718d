"""State tensors of a batch of sequences: KV caches, ring buffers, recurrent state, cross-attention keys and values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archc.plan.axes import CAPACITY, SOURCE, block_axis, block_slots, ring_axis, ring_slots
from archc.plan.manifest import Manifest
from archc.plan.records import Limits, State
from archc.runtime.backends.base import Backend, Binding, Buffer, Call
from archc.runtime.errors import EngineError, PlanError, fit_length

_CAPACITY_STEP = 64  # slots
# The axis that each kind has next to `batch`. `kv` has one slot per token and is updated in place. `ring` is too, until
# it has room for its window and one call; then it wraps around. `block` has one slot for each block of tokens, and is
# updated in place. `fixed` starts at zero and is replaced by every call.
# `cross` is computed from the source before the first call and never changes.
_AXES: Mapping[str, str | None] = {"kv": CAPACITY, "ring": "ring", "block": "block", "fixed": None, "cross": SOURCE}


def check_state(manifest: Manifest) -> None:
    """Raise PlanError for a state tensor of an unsupported kind or shape."""
    for state in manifest.state:
        if state.kind not in _AXES:
            raise PlanError(
                f"state {state.input!r}: kind {state.kind!r:.60} is not supported, expected {', '.join(_AXES)}; "
                "install a newer archc"
            )
        axis = _AXES[state.kind]
        if state.window is not None:
            axis = ring_axis(state.window)
        elif state.block is not None:
            axis = block_axis(state.block)
        expected = ["batch"] if axis is None else ["batch", axis]
        if sorted(dim for dim in state.shape if isinstance(dim, str)) != sorted(expected) or state.shape[0] != "batch":
            raise PlanError(
                f"state {state.input!r}: expected the named axes {' and '.join(map(repr, expected))}, 'batch' first, "
                f"for kind {state.kind!r}, got {list(state.shape)}; build the plan again"
            )


class Cache:
    """The state tensors of `batch` sequences.

    KV caches and ring buffers are slightly larger than their contents, because every call computes over all slots.
    Fixed states are pairs of buffers: each call reads one and fills the other. `source` has the cross states by name.
    """

    def __init__(
        self,
        backend: Backend,
        states: Sequence[State],
        batch: int,
        limits: Limits,
        capacity: int = 0,
        source: Mapping[str, Buffer] | None = None,
    ) -> None:
        self._backend, self._states, self._batch = backend, states, batch
        self._limits, self._longest_call = limits, limits.max_call
        self._source = source or {}
        self.capacity = 0
        self.bindings: list[Binding] = []
        self._calls: tuple[Call, ...] = (backend.bind([]),)
        if capacity:
            self.reserve(capacity)

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]) -> None:
        """Run the graph and advance the state; see `Call.run`."""
        self._calls[0].run(feeds, outputs)
        self._swap()

    def undo(self) -> None:
        """Return fixed states to those before the last call, which are in the buffers that the next call fills."""
        self._swap()

    def _swap(self) -> None:
        """Exchange the two buffers of each fixed state."""
        if len(self._calls) > 1:
            self._calls = self._calls[::-1]
            self.bindings = [_swapped(binding) for binding in self.bindings]

    def copy_fixed(self) -> list[Buffer]:
        """Return copies of the fixed states."""
        return [
            self._backend.grown(binding.buffer, 0, self._batch)
            for binding in self.bindings
            if binding.target is not None
        ]

    def set_fixed(self, buffers: Sequence[Buffer]) -> None:
        """Replace the fixed states by buffers that `copy_fixed` returned, which belong to the cache afterwards."""
        new = iter(buffers)
        self.bindings = [
            binding if binding.target is None else replace(binding, buffer=next(new)) for binding in self.bindings
        ]
        self._bind()

    def reserve(self, slots: int) -> None:
        """Grow to at least `slots` slots per row, and keep the contents.

        The capacity exceeds the plan's limit only if `slots` does, as the padding of a ragged call may.
        """
        if slots <= self.capacity:
            return
        if (fixed := self._backend.capacity) is not None:
            if slots > fixed:
                raise EngineError(
                    f"cache: expected at most {fixed} tokens per row, got {slots}; "
                    f"{fit_length('use shorter sequences', self._limits)}"
                )
            self._resize(fixed)
            return
        grown = max(slots, int(self.capacity * self._backend.growth))
        rounded = min(-(-grown // _CAPACITY_STEP) * _CAPACITY_STEP, self._limits.max_seq_len)
        self._resize(max(slots, rounded))

    def select(self, rows: NDArray[np.int64], source: Mapping[str, Buffer] | None = None) -> None:
        """Replace the sequences by those of `rows`, int64 [batch], which may repeat; `source` has new cross states."""
        changed = len(rows) != self._batch or source is not None
        self._batch, self._source = len(rows), source if source is not None else self._source
        if not self.bindings:
            return
        self.bindings = [
            self._selected(state, binding, rows) for state, binding in zip(self._states, self.bindings, strict=True)
        ]
        if changed:
            self._bind()

    def _selected(self, state: State, old: Binding, rows: NDArray[np.int64]) -> Binding:
        if state.kind == "cross":
            return Binding(state.input, None, self._source[state.input])
        buffer, target = self._backend.select(old.buffer, rows), old.target
        if target is not None and target.shape != buffer.shape:
            target = self._allocate(state, self.capacity)
        return Binding(state.input, state.output, buffer, target)

    def _resize(self, capacity: int) -> None:
        old: list[Binding | None] = [*self.bindings] or [None] * len(self._states)
        bindings = [self._binding(state, binding, capacity) for state, binding in zip(self._states, old, strict=True)]
        # The old buffers are replaced only now: if memory was insufficient, the sequences are unchanged.
        self.bindings, self.capacity = bindings, capacity
        self._bind()

    def _bind(self) -> None:
        self._calls = (self._backend.bind(self.bindings),)
        if any(binding.target is not None for binding in self.bindings):
            self._calls += (self._backend.bind([_swapped(binding) for binding in self.bindings]),)

    def _binding(self, state: State, old: Binding | None, capacity: int) -> Binding:
        if state.kind == "cross":
            return Binding(state.input, None, self._source[state.input])
        if state.kind == "fixed":
            if old is not None:
                return old
            return Binding(state.input, state.output, self._allocate(state, capacity), self._allocate(state, capacity))
        if old is None:
            return Binding(state.input, state.output, self._allocate(state, capacity))
        axis = next(index for index, dim in enumerate(state.shape) if isinstance(dim, str) and index)
        slots = self._slots(state, capacity)
        if old.buffer.shape[axis] == slots:
            return old
        # A ring buffer that still grows has not wrapped around: its slots are absolute positions.
        return Binding(state.input, state.output, self._backend.grown(old.buffer, axis, slots))

    def _slots(self, state: State, capacity: int) -> int:
        if state.block is not None:
            return block_slots(state.block, capacity)
        if state.window is None:
            return capacity
        return min(ring_slots(state.window, self._longest_call), capacity)

    def _allocate(self, state: State, capacity: int) -> Buffer:
        sizes = {"batch": self._batch}
        shape = tuple(
            sizes.get(dim, self._slots(state, capacity)) if isinstance(dim, str) else dim for dim in state.shape
        )
        return self._backend.allocate(shape, state.dtype)


def _swapped(binding: Binding) -> Binding:
    if binding.target is None:
        return binding
    return Binding(binding.input, binding.output, binding.target, binding.buffer)
