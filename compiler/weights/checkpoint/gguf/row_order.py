"""The order of rows in a GGUF file, as the file's row of each row of the hub's form."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

Order = np.ndarray[Any, np.dtype[np.int64]]
"""The row in the file of each row on the hub, [rows]."""

# Rows between two ranges that are read along with both.
_SMALL_GAP = 256


def paired_rows(rows: int, heads: int) -> Order:
    """Return the order of heads whose rows are 0, n/2, 1, n/2 + 1, … in the file (llama.cpp, LlamaModel.permute)."""
    return np.arange(rows).reshape(heads, -1, 2).swapaxes(1, 2).reshape(-1)


def grouped_rows(rows: int, heads: int, groups: int) -> Order:
    """Return the order of queries, keys and values that are one after the other in the file, group by group on the hub.

    A group has `heads / groups` heads of queries, one of keys and one of values.
    """
    dim = rows // (heads + 2 * groups)
    parts = np.split(np.arange(rows), [heads * dim, (heads + groups) * dim])
    return np.concatenate([part.reshape(groups, -1) for part in parts], axis=1).reshape(-1)


def read_ordered(read: Callable[[int, int], Tensor], order: Order) -> Tensor:
    """Return rows in an order; `read` returns a range of rows of the file, of which there are as few as possible."""
    ranges = list(_ranges(np.sort(order)))
    starts = np.array([start for start, _ in ranges])
    sizes = np.array([stop - start for start, stop in ranges])
    before = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    at = np.searchsorted(starts, order, side="right") - 1
    rows = torch.cat([read(start, stop) for start, stop in ranges])
    return rows[torch.from_numpy(before[at] + order - starts[at])]


def in_halves(value: Tensor, heads: int) -> Tensor:
    """Return rows [heads · pairs · 2, …] with the first of every pair before the second ones, head by head."""
    return value[torch.from_numpy(paired_rows(len(value), heads))]


def _ranges(rows: Order) -> Iterator[tuple[int, int]]:
    """Yield ranges of rows that contain all of these sorted ones."""
    for run in np.split(rows, np.flatnonzero(np.diff(rows) > _SMALL_GAP) + 1):
        yield int(run[0]), int(run[-1]) + 1
