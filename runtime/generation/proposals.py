"""Interfaces of speculation: the source of proposed tokens, and the estimate of how many are right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from archc.runtime.generation.guesses import Draft
from archc.runtime.generation.sampling import Sampler


@dataclass(frozen=True)
class Asked:
    """The sampler of a sequence, and the most tokens to propose after those that it has."""

    sampler: Sampler
    count: int


class Proposer(Protocol):
    """A source of likely next tokens, of one sequence or of several."""

    def propose(self, asked: Mapping[int, Asked]) -> Mapping[int, Draft]:
        """Return a proposal for each sequence, which may be empty."""
        ...

    def seconds(self, sequences: int) -> float:
        """Return the seconds of one more proposed token for each of that many sequences; 0 if unknown."""
        ...


class Chances(Protocol):
    """An estimate for the proposals of one sequence."""

    def chances(self, tokens: Sequence[int], count: int) -> list[float]:
        """Return the chance that the first n proposed tokens are right, for n from 1 to `count`, or nothing."""
        ...

    def note(self, proposed: int, accepted: int) -> None:
        """Note how many tokens of the last proposal were right."""
        ...
