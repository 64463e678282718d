"""What a sequence leaves behind between calls, by kind of state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from archc.plan.manifest import Limits, Manifest, State, ring_slots
from archc.runtime.backends.base import Backend, Binding, Buffer, Call
from archc.runtime.errors import EngineError, PlanError

GROWING, RING, SOURCE = "capacity", "ring", "source"
_ROUND = 64  # slots
# The named axes of each kind: `kv` grows by a slot a token and is updated in place; so is `ring`, which stops growing
# where its window and one call have room and starts over; `fixed`, zero at first, is replaced by every call; `cross` is
# made of the source before the first call, and only read.
_AXES = {"kv": ("batch", GROWING), "ring": ("batch", RING), "fixed": ("batch",), "cross": ("batch", SOURCE)}


def check_state(manifest: Manifest) -> None:
    """Raise PlanError for a state tensor of a kind or shape that this runtime does not know."""
    for state in manifest.state:
        if state.kind not in _AXES:
            raise PlanError(
                f"state {state.input!r} is of kind {state.kind!r:.60}; this archc knows {', '.join(_AXES)}: "
                "install a newer one"
            )
        # Rings of several windows have several sizes, which the graph tells apart by name.
        symbols = [RING if dim == f"{RING}_{state.window}" else dim for dim in state.shape if isinstance(dim, str)]
        if sorted(symbols) != sorted(_AXES[state.kind]) or state.shape[0] != "batch":
            axes = " and ".join(f"one {axis!r}" for axis in _AXES[state.kind])
            raise PlanError(
                f"state {state.input!r}: shape {list(state.shape)}: a {state.kind} state has {axes}, 'batch' first"
            )


class Cache:
    """The state of `batch` sequences.

    kv and ring buffers grow a little ahead of what is in them, since every call computes over all of them; fixed ones
    come in pairs, of which each call reads one and fills the other. `source` are the cross ones by name, filled.
    """

    def __init__(
        self, backend: Backend, states: Sequence[State], batch: int, limits: Limits, capacity: int = 0,
        source: Mapping[str, Buffer] | None = None,
    ) -> None:  # fmt: skip
        self._backend, self._states, self._batch = backend, states, batch
        self._limit, self._longest_call = limits.max_seq_len, limits.max_call
        self._source = source or {}
        self.capacity = 0
        self.bindings: list[Binding] = []
        self._calls: tuple[Call, ...] = (backend.bind([]),)
        if capacity:
            self.reserve(capacity)

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]) -> None:
        """Execute the graph and advance the state; see `Call.run`."""
        self._calls[0].run(feeds, outputs)
        if len(self._calls) > 1:
            self._calls = self._calls[::-1]
            self.bindings = [_swapped(binding) for binding in self.bindings]

    def reserve(self, slots: int) -> None:
        """Make room for at least `slots` tokens a row, keeping what is cached.

        Beyond the plan's limit there is room only if `slots` itself goes there, as the padding of a ragged call may.
        """
        if slots <= self.capacity:
            return
        if (fixed := self._backend.capacity) is not None:
            if slots > fixed:
                raise EngineError(f"{slots} tokens a row: the caches of this plan hold {fixed}")
            self._resize(fixed)
            return
        ahead = int(self.capacity * self._backend.growth)
        wanted = min(-(-max(slots, ahead) // _ROUND) * _ROUND, self._limit)
        self._resize(max(slots, wanted))

    def _resize(self, capacity: int) -> None:
        old: list[Binding | None] = [*self.bindings] or [None] * len(self._states)
        bindings = [self._binding(state, binding, capacity) for state, binding in zip(self._states, old, strict=True)]
        # Only now let the old ones go: if there was no memory for all of them, the sequences are as they were.
        self.bindings, self.capacity = bindings, capacity
        self._calls = (self._backend.bind(bindings),)
        if any(binding.target is not None for binding in bindings):
            self._calls += (self._backend.bind([_swapped(binding) for binding in bindings]),)

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
        # A ring that still grows has not come round yet: its slots are absolute positions.
        return Binding(state.input, state.output, self._backend.grown(old.buffer, axis, slots))

    def _slots(self, state: State, capacity: int) -> int:
        if state.window is None:
            return capacity
        return min(ring_slots(state.window, self._longest_call), capacity)

    def _allocate(self, state: State, capacity: int) -> Buffer:
        sizes = {"batch": self._batch, GROWING: capacity, f"{RING}_{state.window}": self._slots(state, capacity)}
        shape = tuple(sizes[dim] if isinstance(dim, str) else dim for dim in state.shape)
        return self._backend.allocate(shape, state.dtype)


def _swapped(binding: Binding) -> Binding:
    if binding.target is None:
        return binding
    return Binding(binding.input, binding.output, binding.target, binding.buffer)
