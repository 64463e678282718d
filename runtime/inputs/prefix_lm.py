"""Prefix-LM prompts (GLM): length of the bidirectional part, and the two position ids of each token."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from archc.plan.records import Prefix
from archc.runtime.errors import PromptError

Ints = NDArray[np.int64]


class PrefixTracker:
    """The prompts of `batch` sequences, each read from the call that begins its sequence.

    `lengths`, int64 [batch], are the tokens before the first output token; `blanks`, int64 [batch], the positions of
    the masked span that the output fills.
    """

    def __init__(self, prefix: Prefix, batch: int) -> None:
        self._prefix = prefix
        self.lengths: Ints = np.zeros(batch, np.int64)
        self.blanks: Ints = np.zeros(batch, np.int64)

    def add(self, ids: Ints, past: Ints) -> None:
        """Find the prompts of rows that begin in this call: ids, int64 [batch, seq], and earlier tokens, int64 [batch].

        Raises PromptError for a prompt without the token that ends it or without a blank.
        """
        for row in np.flatnonzero((past == 0) & (ids[:, 0] >= 0)):
            end = _find(ids[row], (self._prefix.end,), int(row), "begins the output")
            self.lengths[row] = end
            self.blanks[row] = _find(ids[row, :end], self._prefix.blanks, int(row), "marks the masked span")

    def select(self, rows: Ints) -> None:
        """Replace the sequences by those of `rows`, int64 [batch]."""
        self.lengths, self.blanks = self.lengths[rows], self.blanks[rows]

    def of(self, rows: Ints) -> PrefixTracker:
        """Return the prompts of some rows, int64 [n]."""
        some = PrefixTracker(self._prefix, 0)
        some.lengths, some.blanks = self.lengths[rows], self.blanks[rows]
        return some

    def positions(self, past: Ints, seq: int) -> Ints:
        """Return position and block position, int64 [batch, 2, seq] (Du et al. 2022, section 2.2).

        A prompt token has its own position and block position 0; an output token the blank's position and 1, 2, 3, …
        """
        positions = past[:, None] + np.arange(seq)
        is_output = positions >= self.lengths[:, None]
        text = np.where(is_output, self.blanks[:, None], positions)
        block = np.where(is_output, positions - self.lengths[:, None] + 1, 0)
        return np.stack((text, block), axis=1)


def _find(ids: Ints, tokens: tuple[int, ...], row: int, meaning: str) -> int:
    for token in tokens:
        matches = np.flatnonzero(ids == token)
        if len(matches):
            return int(matches[0])
    names = " or ".join(map(str, tokens))
    raise PromptError(
        f"row {row}: token {names}, which {meaning}, not found; append the whole prompt, with this token, in one call"
    )
