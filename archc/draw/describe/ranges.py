"""Numbers of layers as short text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

_MOST = 5


def layer_ranges(layers: Sequence[int]) -> str:
    """Return layers as ranges: `0–4, 6`; a long regular list as `5, 11, … 29`, any other as `0, 2, 5, 6, 9, …`."""
    ranges: list[list[int]] = []
    for layer in layers:
        if ranges and layer == ranges[-1][1] + 1:
            ranges[-1][1] = layer
        else:
            ranges.append([layer, layer])
    texts = [str(first) if first == last else f"{first}–{last}" for first, last in ranges]
    if len(texts) <= _MOST:
        return ", ".join(texts)
    steps = {after[0] - before[0] for before, after in pairwise(ranges)}
    sizes = {last - first for first, last in ranges[:-1]}
    if len(steps) == 1 and len(sizes) == 1:
        return f"{texts[0]}, {texts[1]}, … {texts[-1]}"
    return f"{', '.join(texts[:_MOST])}, …"
