"""Results of a measurement."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Figure:
    """The median of several runs, their least and largest value, and what the machine allows, if that is known.

    `bound` is the resource that sets the limit. `share` is value / limit, or limit / value where lower is better.
    """

    name: str
    unit: str
    value: float
    least: float
    largest: float
    runs: int
    better: Better
    limit: float | None
    bound: str | None

    @property
    def share(self) -> float | None:
        """Return how much of the limit was reached; 1 is all of it."""
        if not self.limit or not self.value:
            return None
        return self.value / self.limit if self.better == "higher" else self.limit / self.value


def rate_figure(name: str, tokens: int, seconds: Sequence[float], least: float | None, bound: str | None) -> Figure:
    """Return tokens per second from the seconds of several runs, and the least seconds that a run can take."""
    rates = [tokens / value for value in seconds]
    limit = tokens / least if least else None
    return Figure(
        name, "tokens/s", statistics.median(rates), min(rates), max(rates), len(rates), "higher", limit, bound
    )


def cost_figure(
    name: str, unit: str, values: Sequence[float], limit: float | None = None, bound: str | None = None
) -> Figure:
    """Return seconds or bytes, of which fewer are better."""
    return Figure(name, unit, statistics.median(values), min(values), max(values), len(values), "lower", limit, bound)
