"""The interface between the runtime and the backends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Buffer(Protocol):
    """A tensor on the backend's device, initially zero."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return its shape."""
        ...

    @property
    def address(self) -> int:
        """Return the device address of its first byte."""
        ...


@dataclass(frozen=True)
class Binding:
    """A state tensor of a call: the buffer of a graph input, and the `target` buffer of a graph output.

    Without a `target`, the graph updates `buffer` in place. Without an `output` the buffer is only read, without an
    `input` only written.
    """

    input: str | None
    output: str | None
    buffer: Buffer
    target: Buffer | None = None


class Call(Protocol):
    """The graph with bound state tensors; every run advances that state."""

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]) -> None:
        """Run the graph on `feeds`, by input name, and fill the arrays of `outputs`, by output name.

        Raises EngineError if the execution fails.
        """
        ...


class Backend(Protocol):
    """One loaded graph."""

    @property
    def device(self) -> str:
        """Return the device type, such as `cpu` or `cuda`."""
        ...

    @property
    def threads(self) -> int:
        """Return the number of CPU threads of one call."""
        ...

    @property
    def growth(self) -> float:
        """Return the minimum factor by which a cache grows."""
        ...

    @property
    def capacity(self) -> int | None:
        """Return the number of slots that every cache must have, or None for any."""
        ...

    def mask_length(self, total: int, seq: int) -> int:
        """Return the length of masks over `total` live keys in a call of `seq` tokens."""
        ...

    def allocate(self, shape: tuple[int, ...], dtype: str) -> Buffer:
        """Return a new buffer of zeros; raise EngineError if there is not enough memory."""
        ...

    def grown(self, buffer: Buffer, axis: int, size: int) -> Buffer:
        """Return a copy of `buffer` with `axis` padded with zeros to `size`."""
        ...

    def select(self, buffer: Buffer, rows: NDArray[np.int64]) -> Buffer:
        """Return a buffer with these rows of the first axis, int64 [n]: `buffer` itself, changed, if n is its size."""
        ...

    def bind(self, state: Sequence[Binding]) -> Call:
        """Return a call that keeps its state in these buffers."""
        ...
