"""Natural logarithms of the probabilities of tokens, from logits before any option changes them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Scored:
    """A token id with its log-probability."""

    id: int
    logprob: float


@dataclass(frozen=True)
class ScoredToken(Scored):
    """A token at its position, with the most likely tokens there, the best first."""

    top: tuple[Scored, ...] = ()


def log_probabilities(logits: Floats, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return log softmax of float32 [n, vocab] at int64 [n], as float64 [n]."""
    shifted = logits - logits.max(-1, keepdims=True)
    chosen: NDArray[np.float64] = shifted[np.arange(len(tokens)), tokens] - _log_totals(shifted)
    return chosen


def score_tokens(logits: Floats, tokens: NDArray[np.int64], count: int) -> list[ScoredToken]:
    """Return the tokens int64 [n] scored by the logits of their positions, float32 [n, vocab], and the best `count`."""
    shifted = logits - logits.max(-1, keepdims=True)
    totals = _log_totals(shifted)
    scored = []
    for row, total, token in zip(shifted, totals, tokens, strict=True):
        best = np.argpartition(-row, min(count, len(row) - 1))[:count] if count else np.zeros(0, np.int64)
        best = best[np.argsort(-row[best], kind="stable")]
        top = tuple(Scored(int(index), float(row[index] - total)) for index in best)
        scored.append(ScoredToken(int(token), float(row[token] - total), top))
    return scored


def _log_totals(shifted: Floats) -> NDArray[np.float64]:
    totals: NDArray[np.float64] = np.log(np.exp(shifted).sum(-1, dtype=np.float64))
    return totals
