"""What the runtime asks of whatever executes a plan's graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray


class Buffer(Protocol):
    """A tensor that lives where the backend computes, zero when it is made."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its present shape."""
        ...

    @property
    def address(self) -> int:
        """Where its first byte is, on its device."""
        ...


@dataclass(frozen=True)
class Binding:
    """The buffer that a call reads as a graph input, and the one that it fills as a graph output.

    Without a `target` they are one and the same: the graph updates the buffer in place. Without an `output` it is only
    read, and without an `input` only filled.
    """

    input: str | None
    output: str | None
    buffer: Buffer
    target: Buffer | None = None


class Call(Protocol):
    """The graph with its state bound; every run advances that state."""

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]) -> None:
        """Execute the graph on `feeds`, by input name, and fill the arrays of `outputs`, by output name.

        Raises EngineError if the execution fails.
        """
        ...


class Backend(Protocol):
    """One loaded graph."""

    @property
    def device(self) -> str:
        """Where it computes, such as `cpu` or `cuda`."""
        ...

    @property
    def threads(self) -> int:
        """How many CPU threads one call may use."""
        ...

    @property
    def growth(self) -> float:
        """How many times its size a cache grows to at least, where it grows."""
        ...

    @property
    def capacity(self) -> int | None:
        """How many slots a cache must have, or None where any number will do."""
        ...

    def keys(self, total: int, seq: int) -> int:
        """Return how long the masks over `total` keys are to be, in a call of `seq` tokens."""
        ...

    def allocate(self, shape: tuple[int, ...], dtype: str) -> Buffer:
        """Return a new buffer of zeros; raise EngineError if there is no memory for it."""
        ...

    def grown(self, buffer: Buffer, axis: int, size: int) -> Buffer:
        """Return a new buffer with `axis` grown to `size`: what `buffer` holds first, then zeros."""
        ...

    def bind(self, state: Sequence[Binding]) -> Call:
        """Return a call that keeps its state in the given buffers."""
        ...
