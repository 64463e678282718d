"""Proposed tokens, and the rule that accepts or replaces them without a change of the distribution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from archc.runtime.generation.random_stream import Probabilities, RandomStream


class Distribution(NamedTuple):
    """The tokens that may come next, int64 [n], and their probabilities, float64 [n]; all others have none."""

    tokens: NDArray[np.int64]
    probabilities: Probabilities

    def of(self, tokens: NDArray[np.int64]) -> Probabilities:
        """Return the probabilities of some tokens, int64 [m]."""
        every = np.zeros(1 + max(int(self.tokens.max()), int(tokens.max())))
        every[self.tokens] = self.probabilities
        found: Probabilities = every[tokens]
        return found


@dataclass(frozen=True)
class Guess:
    """A proposed token; `distribution` is the one that it was drawn from, None if it was chosen otherwise."""

    token: int
    distribution: Distribution | None = None


Draft: TypeAlias = Sequence[Guess]
"""The tokens that are proposed to follow a sequence."""


def settle(guess: Guess, target: Distribution, random: RandomStream) -> int:
    """Return a token of the distribution p of `target`: the guess, drawn from q, or another one in its place.

    The guess x is kept with probability min(1, p(x) / q(x)), and otherwise replaced by a draw from
    max(0, p − q) / Σ max(0, p − q) (Leviathan et al. 2023, section 2.3; Chen et al. 2023, algorithm 2).
    """
    assert guess.distribution is not None
    proposed = np.array([guess.token])
    (p,), (q,) = target.of(proposed), guess.distribution.of(proposed)
    if random.flip(min(1.0, p / q)):
        return guess.token
    rest = np.maximum(0.0, target.probabilities - guess.distribution.of(target.tokens))
    if not rest.any():
        # Equal distributions, whose quotient was rounded to less than 1.
        return guess.token
    return int(target.tokens[random.draw(rest)])
