"""Choice of the next token: greedy, or a draw from a filtered distribution.

The order is that of transformers: the rules of `processors`, then temperature, top-k, top-p, min-p, typical, epsilon
and eta.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from archc.runtime.errors import NonFiniteLogitsError, PromptError
from archc.runtime.generation.guesses import Distribution, Guess, settle
from archc.runtime.generation.processors import LogitsProcessor
from archc.runtime.generation.random_stream import Probabilities, RandomStream
from archc.runtime.generation.settings import Settings
from archc.runtime.structure.constraint import Constraint

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Filter = Callable[[Probabilities], Mask]
"""From ascending probabilities, float64 [n], to the tokens that are kept, bool [n]."""


class Sampler:
    """Chooses the tokens of one row; `tokens` are those so far, the prompt included.

    Each row has a random stream of its own, so that its tokens do not depend on the length of other rows; `random`
    replaces it. A constraint comes before the rules of `processor`.
    """

    def __init__(
        self,
        settings: Settings,
        prompt: Sequence[int] = (),
        row: int = 0,
        processor: LogitsProcessor | None = None,
        constraint: Constraint | None = None,
        random: RandomStream | None = None,
    ) -> None:
        self._settings, self._constraint = settings, constraint
        self._random = random or RandomStream(None if settings.seed is None else [settings.seed, row])
        self._processor = processor or LogitsProcessor(settings, len(prompt))
        self.tokens = list(prompt)

    @property
    def is_argmax(self) -> bool:
        """Return whether every choice is the argmax of the unmodified logits."""
        return self._settings.temperature == 0 and not self._processor.changes and self._constraint is None

    @property
    def ignores_ends(self) -> bool:
        """Return whether the row goes on after an end-of-sequence token."""
        return self._settings.ignore_eos

    def choose(self, logits: Floats, guess: Guess | None = None) -> int:
        """Return the next token for float32 [vocab]; raise NonFiniteLogitsError if the maximum is not finite.

        A guess that was drawn from another distribution is kept or replaced by the rule of speculative sampling.
        """
        best, logits = self._allowed(logits)
        if self._settings.temperature == 0:
            token = best
        elif guess is not None and guess.distribution is not None:
            token = settle(guess, distribution(logits, self._settings), self._random)
        else:
            token = self._draw(distribution(logits, self._settings))
        self._record(token)
        if self._constraint is not None:
            self._constraint.accept(token)
        return token

    def fork(self) -> Sampler:
        """Return a sampler that chooses what may come next, without an effect on this one.

        With a seed its random numbers are those that come next here, so that equal logits yield equal tokens.
        """
        constraint = self._constraint.fork() if self._constraint is not None else None
        return Sampler(self._settings, self.tokens, 0, self._processor, constraint, self._random.fork())

    def guess(self, logits: Floats) -> Guess:
        """Return a choice as a proposal; with a seed, the other sampler draws with the same numbers."""
        best, logits = self._allowed(logits)
        found: Distribution | None = None
        if self._settings.temperature == 0:
            token = best
        else:
            found = distribution(logits, self._settings)
            token = self._draw(found)
        self._record(token)
        if self._constraint is not None:
            self._constraint.accept(token)
        return Guess(token, None if self._random.is_seeded else found)

    def _allowed(self, logits: Floats) -> tuple[int, Floats]:
        """Return the most likely token and the logits, float32 [vocab], after constraint and rules."""
        best = int(logits.argmax())
        require_finite(logits[best])
        if self._constraint is not None or self._processor.changes:
            allowed = self._constraint.apply(logits) if self._constraint is not None else logits
            logits = self._processor(self.tokens, allowed)
            best = int(logits.argmax())
            if logits[best] == -np.inf:
                raise PromptError("the options leave no token to generate; remove a rule on tokens or n-grams")
        return best, logits

    def choose_argmax(self, token: int, logit: float) -> int:
        """Return `token`, the argmax that the graph computed; raise NonFiniteLogitsError unless `logit` is finite."""
        require_finite(logit)
        return self._record(token)

    def _record(self, token: int) -> int:
        self.tokens.append(token)
        return token

    def _draw(self, found: Distribution) -> int:
        return int(found.tokens[self._random.draw(found.probabilities)])


def require_finite(logit: float) -> None:
    """Raise NonFiniteLogitsError unless the largest logit is finite."""
    if not math.isfinite(logit):
        raise NonFiniteLogitsError(
            f"logits: expected finite values, got {logit}; check the checkpoint for NaN, or rebuild a plan in float16 "
            "or bfloat16 with --dtype float32"
        )


def distribution(logits: Floats, settings: Settings, least: int = 1) -> Distribution:
    """Return the tokens that the filters keep, in ascending order of their probabilities.

    Each filter keeps at least `least` tokens.
    """
    tokens = np.arange(len(logits))
    if 0 < (top_k := max(settings.top_k, least) if settings.top_k else 0) < len(logits):
        # Ties with the k-th largest logit are kept, as in transformers.
        threshold = np.partition(logits, -top_k)[-top_k]
        tokens = np.flatnonzero(logits >= threshold)
    order = np.argsort(logits[tokens], kind="stable")
    tokens = tokens[order]
    scores = logits[tokens].astype(np.float64)
    probabilities = np.exp((scores - scores[-1]) / max(settings.temperature, 1e-300))
    probabilities /= probabilities.sum()
    for keep in _filters(settings, least):
        kept = keep(probabilities)
        tokens, probabilities = tokens[kept], probabilities[kept]
        probabilities = probabilities / probabilities.sum()
    return Distribution(tokens, probabilities)


def _filters(settings: Settings, least: int) -> list[Filter]:
    """Return the filters in use, in their order."""
    filters: list[Filter] = []
    if settings.top_p < 1:
        # A token is kept while more likely tokens sum to less than top_p.
        filters.append(lambda values: _with_best(np.cumsum(values) > 1 - settings.top_p, least))
    if settings.min_p > 0:
        filters.append(lambda values: _with_best(values >= settings.min_p * values[-1], least))
    if settings.typical_p < 1:
        filters.append(lambda values: _typical(values, settings.typical_p, least))
    if 0 < settings.epsilon_cutoff < 1:
        filters.append(lambda values: _with_best(values >= settings.epsilon_cutoff, least))
    if 0 < settings.eta_cutoff < 1:
        filters.append(lambda values: _with_best(values >= _eta(values, settings.eta_cutoff), least))
    return filters


def _with_best(kept: Mask, least: int) -> Mask:
    kept[-least:] = True
    return kept


def _typical(values: Probabilities, mass: float, least: int) -> Mask:
    """Return the tokens whose information is nearest to the entropy, up to `mass` (Meister et al. 2023, section 5)."""
    information = -np.log(np.maximum(values, 1e-300))
    distance = np.abs(information - (values * information).sum())
    order = np.argsort(distance, kind="stable")
    last = min(int((np.cumsum(values[order]) < mass).sum()), len(values) - 1)
    kept: Mask = distance <= distance[order[last]]
    kept[order[:least]] = True
    return kept


def _eta(values: Probabilities, cutoff: float) -> float:
    """Return the least probability of eta sampling, which falls with the entropy (Hewitt et al. 2022, section 4)."""
    entropy = -(values * np.log(np.maximum(values, 1e-300))).sum()
    return min(cutoff, math.sqrt(cutoff) * math.exp(-entropy))
