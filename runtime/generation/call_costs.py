"""Seconds of calls by their size, and the number of proposed tokens that pays."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

COUNTS = (1, 3, 7, 15)
"""Numbers of proposed tokens that are tried."""

MOST_ROWS = 128
"""The most tokens of a call with proposals, so that quantized weights are multiplied in the form of single tokens."""

_MARGIN = 1.05  # expected gain below which nothing is proposed
_KEPT, _STALE = 9, 2048  # measured calls of one size, and calls after which they are forgotten
_FRESH = 512  # calls after which a call without proposals is measured again
_FEW = 2  # measured calls without proposals that are enough to compare with


@dataclass
class _Calls:
    """Seconds of the latest calls of one size, without the first, which allocates; `last` is the number of the last."""

    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT))
    is_warm: bool = False
    last: int = 0


@dataclass(frozen=True)
class Terms:
    """Conditions of a proposal.

    `counts` are the numbers of tokens to choose from, `again` the tokens of each sequence that must be appended again
    besides, `seconds` the time of one proposed token. State that `repeats` cannot take back a part of a call: the
    accepted tokens are computed again by the next one.
    """

    counts: Sequence[int] = COUNTS
    again: int = 0
    seconds: float = 0.0
    repeats: bool = False


class CallCosts:
    """Seconds of calls by the number of sequences and of tokens of each, measured while they are made."""

    def __init__(self) -> None:
        self._calls: dict[tuple[int, int], _Calls] = {}
        self._count = 0

    def note(self, sequences: int, width: int, seconds: float) -> None:
        """Note the time of a call of `width` tokens for each of `sequences`."""
        self._count += 1
        calls = self._calls.setdefault((sequences, width), _Calls())
        calls.last = self._count
        if calls.is_warm:
            calls.seconds.append(seconds)
        calls.is_warm = True

    def ratio(self, sequences: int, width: int) -> float:
        """Return the time of a call over that of one token a sequence: measured, or an estimate that permits trials."""
        one, many = self.seconds(sequences, 1), self.seconds(sequences, width)
        return many / one if one and many else 1.0 if width == 1 else 1.2 + 0.1 * sequences * (width - 1)

    def best(self, chances: Sequence[Sequence[float]], sequences: int, terms: Terms | None = None) -> int:
        """Return how many tokens to propose in a call of `sequences`, of which some have `chances`; 0: none pay."""
        terms = terms or Terms()
        if not chances or (terms.seconds and not self._has_single(sequences)):
            return 0
        begin = 1 + terms.again
        best, speed = 0, _MARGIN / self.ratio(sequences, begin)
        for count in terms.counts:
            if sequences * (begin + count) > MOST_ROWS:
                break
            gain = sum(sum(chance[:count]) for chance in chances) / sequences
            time = self.ratio(sequences, begin + count) + count * terms.seconds / (self.seconds(sequences, 1) or 1.0)
            if terms.repeats:
                partly = sum(1 - chance[count - 1] for chance in chances) / sequences
                time += partly * max(0.0, self.ratio(sequences, 2 + round(gain)) - 1)
            if (found := (1 + gain) / time) > speed:
                best, speed = count, found
        return best

    def seconds(self, sequences: int, width: int) -> float | None:
        """Return the median time of the latest calls of that size; None if there is none."""
        calls = self._calls.get((sequences, width))
        if calls is None or not calls.seconds:
            return None
        if width > 1 and self._count - calls.last > _STALE:
            calls.seconds.clear()
            return None
        return statistics.median(calls.seconds)

    def _has_single(self, sequences: int) -> bool:
        """Return whether calls without proposals were measured, and not too long ago."""
        calls = self._calls.get((sequences, 1))
        return calls is not None and len(calls.seconds) >= _FEW and self._count - calls.last <= _FRESH
