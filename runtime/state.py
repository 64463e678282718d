"""What a sequence leaves behind between calls, by kind of state."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.backends.base import Backend, Binding, Call
from runtime.errors import PlanError
from runtime.plan.manifest import Manifest, State

GROWING = "capacity"
_ROUND = 64  # slots


def check_state(manifest: Manifest) -> None:
    """Raise PlanError for a state tensor of a kind or shape that this runtime does not know."""
    for state in manifest.state:
        if state.kind != "kv":
            raise PlanError(
                f"state {state.input!r} is of kind {state.kind!r:.60}; this archc knows 'kv': install a newer one"
            )
        symbols = [dim for dim in state.shape if isinstance(dim, str)]
        if sorted(symbols) != ["batch", GROWING] or state.shape[0] != "batch":
            raise PlanError(
                f"state {state.input!r}: shape {list(state.shape)}: expected one 'batch', first, and one 'capacity'"
            )


class Cache:
    """The kv buffers of `batch` sequences; they start small and double, so that a short answer costs little memory."""

    def __init__(self, backend: Backend, states: Sequence[State], batch: int, limit: int, capacity: int = 0) -> None:
        self._backend, self._states, self._batch, self._limit = backend, states, batch, limit
        self.capacity = 0
        self.bindings: list[Binding] = []
        self.call: Call = backend.bind([])
        if capacity:
            self.reserve(capacity)

    def reserve(self, slots: int) -> None:
        """Make room for at least `slots` tokens a row, keeping what is cached.

        Beyond the plan's limit there is room only if `slots` itself goes there, as the padding of a ragged call may.
        """
        if slots <= self.capacity:
            return
        wanted = min(-(-max(slots, 2 * self.capacity) // _ROUND) * _ROUND, self._limit)
        self._resize(max(slots, wanted))

    def _resize(self, capacity: int) -> None:
        bindings: list[Binding] = []
        for index, state in enumerate(self._states):
            if self.bindings:
                axis = state.shape.index(GROWING)
                buffer = self._backend.grown(self.bindings[index].buffer, axis, capacity)
            else:
                sizes = {"batch": self._batch, GROWING: capacity}
                shape = tuple(sizes[dim] if isinstance(dim, str) else dim for dim in state.shape)
                buffer = self._backend.allocate(shape, state.dtype)
            bindings.append(Binding(state.input, state.output, buffer))
        # Only now let the old ones go: if there was no memory for all of them, the sequences are as they were.
        self.bindings, self.capacity = bindings, capacity
        self.call = self._backend.bind(bindings)
