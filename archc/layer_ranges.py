"""Numbers of layers as text, consecutive ones as ranges."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

_MOST_SHOWN = 5


def format_ranges(numbers: Iterable[int]) -> str:
    """Return all numbers: `0-2, 4`."""
    return ", ".join(_texts(_ranges(numbers), "-"))


def shortened_ranges(layers: Sequence[int]) -> str:
    """Return numbers for a figure: `0–4, 6`; a long regular list as `5, 11, … 29`, any other as `0, 2, 5, 6, 9, …`."""
    ranges = _ranges(layers)
    texts = _texts(ranges, "–")
    if len(texts) <= _MOST_SHOWN:
        return ", ".join(texts)
    steps = {after[0] - before[0] for before, after in pairwise(ranges)}
    sizes = {last - first for first, last in ranges[:-1]}
    if len(steps) == 1 and len(sizes) == 1:
        return f"{texts[0]}, {texts[1]}, … {texts[-1]}"
    return f"{', '.join(texts[:_MOST_SHOWN])}, …"


def _ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Return the first and the last number of each run of consecutive ones."""
    ranges: list[tuple[int, int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return ranges


def _texts(ranges: Sequence[tuple[int, int]], dash: str) -> list[str]:
    return [str(first) if first == last else f"{first}{dash}{last}" for first, last in ranges]
