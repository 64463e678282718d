"""The random decisions of one sequence."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.float64]


class RandomStream:
    """A stream of decisions; each consumes one number. Without a seed, every stream is another one."""

    def __init__(self, seed: Sequence[int] | None = None) -> None:
        self._seed, self._random = seed, np.random.default_rng(seed)

    def draw(self, probabilities: Probabilities) -> int:
        """Return an index of float64 [n], which need not sum to 1."""
        cumulative = np.cumsum(probabilities)
        return int(np.searchsorted(cumulative, self._random.random() * cumulative[-1], side="right"))

    def flip(self, probability: float) -> bool:
        """Return whether an event of this probability occurs."""
        return bool(self._random.random() < probability)

    @property
    def is_seeded(self) -> bool:
        """Return whether the decisions can be repeated."""
        return self._seed is not None

    def fork(self) -> RandomStream:
        """Return a stream of the same decisions as those that come next here; without a seed, of others."""
        return copy.deepcopy(self) if self.is_seeded else RandomStream()
