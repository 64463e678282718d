"""Choosing the next token: greedy, or drawn from a shaped distribution.

The order is that of transformers' warpers: repetition penalty, temperature, top-k, top-p, min-p.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archc.runtime.errors import EngineError, PromptError

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Sampling:
    """How to choose tokens; the default is greedy.  Raises PromptError for a value outside of its range.

    temperature ≥ 0, 0 for greedy · top_k ≥ 0, 0 for all · 0 < top_p ≤ 1 · 0 ≤ min_p ≤ 1 · seed ≥ 0 or None
    repetition_penalty > 0, 1 for none, over the prompt and what was generated (Keskar et al. 2019, section 4.1)
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        for name in ("temperature", "top_p", "min_p", "repetition_penalty"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
                raise PromptError(f"{name} is {value!r}; it must be a number")
        checks = (
            ("temperature", self.temperature >= 0, "a number of at least 0 (0 is greedy)"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1 (1 keeps every token)"),
            ("min_p", 0 <= self.min_p <= 1, "between 0 and 1 (0 keeps every token)"),
            ("repetition_penalty", self.repetition_penalty > 0, "above 0 (1 is none)"),
        )
        for name, in_range, expected in checks:
            if not in_range or not math.isfinite(getattr(self, name)):
                raise PromptError(f"{name} is {getattr(self, name)}; it must be {expected}")
        if not is_integer(self.top_k) or self.top_k < 0:
            raise PromptError(f"top_k is {self.top_k!r}; it must be a whole number of at least 0 (0 keeps every token)")
        if self.seed is not None and (not is_integer(self.seed) or self.seed < 0):
            raise PromptError(f"seed is {self.seed!r}; it must be a whole number of at least 0, or None")


def is_integer(value: object) -> bool:
    """Return whether `value` is a whole number and not a boolean."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


class Sampler:
    """Chooses the tokens of one row, none of `never`.

    Rows draw from separate streams, so that none depends on another's length.
    """

    def __init__(
        self, options: Sampling, vocab_size: int, prompt: Sequence[int], row: int = 0, never: Sequence[int] = ()
    ) -> None:
        self._options = options
        self._random = np.random.default_rng(None if options.seed is None else [options.seed, row])
        self._seen = np.zeros(vocab_size, np.bool_)
        self._seen[np.asarray(prompt, np.int64)] = True
        self._never = np.asarray(never, np.int64)

    @property
    def greedy(self) -> bool:
        """Whether the choice is the likeliest of all tokens, whatever was chosen before."""
        return self._options.temperature == 0 and self._options.repetition_penalty == 1 and not len(self._never)

    def accept(self, token: int, logit: float) -> int:
        """Return the likeliest token, found elsewhere, with its logit; raise EngineError as `choose` does."""
        _need_number(logit)
        self._seen[token] = True
        return token

    def choose(self, logits: Floats) -> int:
        """Return the next token's id from float32 [vocab]; raise EngineError if the logits hold no number to choose."""
        options = self._options
        if options.repetition_penalty != 1:
            logits = penalize(logits, self._seen, options.repetition_penalty)
        if len(self._never):
            logits = logits.copy()
            logits[self._never] = -np.inf
        best = int(logits.argmax())
        _need_number(logits[best])
        token = best if options.temperature == 0 else self._draw(logits)
        self._seen[token] = True
        return token

    def _draw(self, logits: Floats) -> int:
        tokens, chances = distribution(logits, self._options)
        cumulative = np.cumsum(chances)
        point = self._random.random() * cumulative[-1]
        return int(tokens[np.searchsorted(cumulative, point, side="right")])


def _need_number(logit: float) -> None:
    if not math.isfinite(logit):
        raise EngineError(f"the model's logits hold {logit}: its numbers overflowed; build with --dtype float32")


def penalize(logits: Floats, seen: NDArray[np.bool_], penalty: float) -> Floats:
    """Return float32 [vocab] with the tokens of `seen`, bool [vocab], made less likely by `penalty`."""
    logits = logits.copy()
    old = logits[seen]
    logits[seen] = np.where(old > 0, old / penalty, old * penalty)
    return logits


def distribution(logits: Floats, options: Sampling) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the tokens that may be drawn, int64 [n], and their probabilities, float64 [n], likeliest last."""
    tokens = np.arange(len(logits))
    if 0 < options.top_k < len(logits):
        # Ties with the k-th stay in, as they do in transformers.
        least = np.partition(logits, -options.top_k)[-options.top_k]
        tokens = np.flatnonzero(logits >= least)
    order = np.argsort(logits[tokens], kind="stable")
    tokens = tokens[order]
    scores = logits[tokens].astype(np.float64)
    chances = np.exp((scores - scores[-1]) / max(options.temperature, 1e-300))
    chances /= chances.sum()
    # A token stays while those likelier than it hold less than top_p; the likeliest always stays.
    keep = np.cumsum(chances) > 1 - options.top_p if options.top_p < 1 else np.ones(len(chances), np.bool_)
    keep &= chances >= options.min_p * chances[-1]
    keep[-1] = True
    tokens, chances = tokens[keep], chances[keep]
    return tokens, chances / chances.sum()
