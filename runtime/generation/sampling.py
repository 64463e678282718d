"""Choice of the next token: greedy, or a draw from a filtered distribution.

The order is that of the logits processors of transformers: repetition penalty, temperature, top-k, top-p, min-p.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from archc.runtime.errors import NonFiniteLogitsError
from archc.runtime.generation.options import SamplingOptions

Floats = NDArray[np.float32]


class Sampler:
    """Chooses the tokens of one row, and none of `excluded`.

    Each row has a random stream of its own, so that its tokens do not depend on the length of other rows.
    """

    def __init__(
        self,
        options: SamplingOptions,
        vocab_size: int,
        prompt: Sequence[int],
        row: int = 0,
        excluded: Sequence[int] = (),
    ) -> None:
        self._options = options
        self._random = np.random.default_rng(None if options.seed is None else [options.seed, row])
        self._seen = np.zeros(vocab_size, np.bool_)
        self._seen[np.asarray(prompt, np.int64)] = True
        self._excluded = np.asarray(excluded, np.int64)

    @property
    def is_argmax(self) -> bool:
        """Return whether every choice is the argmax of the unmodified logits."""
        options = self._options
        return options.temperature == 0 and options.repetition_penalty == 1 and not len(self._excluded)

    def choose(self, logits: Floats) -> int:
        """Return the next token for float32 [vocab]; raise NonFiniteLogitsError if the maximum is not finite."""
        options = self._options
        if options.repetition_penalty != 1:
            logits = penalize(logits, self._seen, options.repetition_penalty)
        if len(self._excluded):
            logits = logits.copy()
            logits[self._excluded] = -np.inf
        best = int(logits.argmax())
        _require_finite(logits[best])
        return self._record(best if options.temperature == 0 else self._draw(logits))

    def choose_argmax(self, token: int, logit: float) -> int:
        """Return `token`, the argmax that the graph computed; raise NonFiniteLogitsError unless `logit` is finite."""
        _require_finite(logit)
        return self._record(token)

    def _record(self, token: int) -> int:
        self._seen[token] = True
        return token

    def _draw(self, logits: Floats) -> int:
        tokens, probabilities = distribution(logits, self._options)
        cumulative = np.cumsum(probabilities)
        point = self._random.random() * cumulative[-1]
        return int(tokens[np.searchsorted(cumulative, point, side="right")])


def _require_finite(logit: float) -> None:
    if not math.isfinite(logit):
        raise NonFiniteLogitsError(
            f"logits: expected finite values, got {logit} (activations overflowed); rebuild with --dtype float32"
        )


def penalize(logits: Floats, seen: NDArray[np.bool_], penalty: float) -> Floats:
    """Return float32 [vocab] with the repetition penalty applied to the tokens of `seen`, bool [vocab]."""
    logits = logits.copy()
    old = logits[seen]
    logits[seen] = np.where(old > 0, old / penalty, old * penalty)
    return logits


def distribution(logits: Floats, options: SamplingOptions) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the tokens that the filters keep, int64 [n], and their probabilities, float64 [n], in ascending order."""
    tokens = np.arange(len(logits))
    if 0 < options.top_k < len(logits):
        # Ties with the k-th largest logit are kept, as in transformers.
        threshold = np.partition(logits, -options.top_k)[-options.top_k]
        tokens = np.flatnonzero(logits >= threshold)
    order = np.argsort(logits[tokens], kind="stable")
    tokens = tokens[order]
    scores = logits[tokens].astype(np.float64)
    probabilities = np.exp((scores - scores[-1]) / max(options.temperature, 1e-300))
    probabilities /= probabilities.sum()
    # Nucleus: a token is kept while more likely tokens sum to less than top_p. The most likely one is always kept.
    keep = np.cumsum(probabilities) > 1 - options.top_p if options.top_p < 1 else np.ones(len(probabilities), np.bool_)
    keep &= probabilities >= options.min_p * probabilities[-1]
    keep[-1] = True
    tokens, probabilities = tokens[keep], probabilities[keep]
    return tokens, probabilities / probabilities.sum()
