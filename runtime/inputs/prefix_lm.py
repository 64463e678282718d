"""Prompts that are read both ways: where each ends, and the two places of every token."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from archc.plan.manifest import Prefix
from archc.runtime.errors import PromptError

Ints = NDArray[np.int64]


class PrefixTracker:
    """The prompts of `batch` sequences, found in the call that begins each.

    `lengths`, int64 [batch], are the tokens before the one that begins the written part; `blanks`, int64 [batch], the
    places where it belongs.
    """

    def __init__(self, prefix: Prefix, batch: int) -> None:
        self._prefix = prefix
        self.lengths: Ints = np.zeros(batch, np.int64)
        self.blanks: Ints = np.zeros(batch, np.int64)

    def see(self, ids: Ints, past: Ints) -> None:
        """Find the prompts of rows that begin in this call: int64 [batch, seq] with -1 pads, and tokens before it.

        Raises PromptError for a prompt without the tokens that say where it ends and where the answer belongs.
        """
        for row in np.flatnonzero((past == 0) & (ids[:, 0] >= 0)):
            end = _find(ids[row], (self._prefix.end,), int(row), "begins the answer")
            self.lengths[row] = end
            self.blanks[row] = _find(ids[row, :end], self._prefix.blanks, int(row), "stands where the answer belongs")

    def positions(self, past: Ints, seq: int) -> Ints:
        """Places in the text and in the written block, int64 [batch, 2, seq] (Du et al. 2022, section 2.2).

        A token of the prompt has its own place and block place 0; a written one has the blank's and 1, 2, 3, …
        """
        places = past[:, None] + np.arange(seq)
        written = places >= self.lengths[:, None]
        text = np.where(written, self.blanks[:, None], places)
        block = np.where(written, places - self.lengths[:, None] + 1, 0)
        return np.stack((text, block), axis=1)


def _find(ids: Ints, wanted: tuple[int, ...], row: int, what: str) -> int:
    for token in wanted:
        found = np.flatnonzero(ids == token)
        if len(found):
            return int(found[0])
    names = " or ".join(map(str, wanted))
    raise PromptError(
        f"row {row}: no token {names}, which {what}: a prompt of this model holds it, all of the prompt in one call"
    )
