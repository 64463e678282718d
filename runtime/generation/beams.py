"""Beam search: several continuations of each prompt, of which the one with the best score is the output."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archc.runtime.generation.decode import OnToken
from archc.runtime.generation.processors import LogitsProcessor
from archc.runtime.generation.row import Row
from archc.runtime.generation.sampling import distribution, require_finite
from archc.runtime.generation.sequences import Sequences
from archc.runtime.generation.settings import Settings
from archc.runtime.inputs.prompts import Ints

Floats = NDArray[np.float32]
_NEVER = np.float32(-1e9)
"""The score of a beam that cannot be chosen; added rather than assigned, so that such beams keep their order."""


@dataclass(frozen=True)
class _Beam:
    tokens: list[int]
    score: np.float32
    is_finished: bool = False


class BeamSearch:
    """The beams of one row, with the rules of transformers' `generate`.

    Scores are sums of log-probabilities, float32; those of finished beams are divided by length ^ `length_penalty`
    (Wu et al. 2016, section 7, with α alone). `begin` is the number of tokens that do not count as generated.
    """

    def __init__(
        self,
        settings: Settings,
        prompt: Sequence[int],
        processor: LogitsProcessor,
        ends: Collection[int],
        begin: int,
        max_length: int,
        row: int = 0,
    ) -> None:
        self._settings, self._processor, self._ends = settings, processor, frozenset(ends)
        self._begin, self._max_length, self._count = begin, max_length, settings.num_beams
        self._random = np.random.default_rng(None if settings.seed is None else [settings.seed, row])
        self._running = [_Beam(list(prompt), _NEVER if index else np.float32(0)) for index in range(settings.num_beams)]
        self._finished = [_Beam(list(prompt), _NEVER)] * settings.num_beams
        self._can_improve = True
        self.is_done = False

    @property
    def tokens(self) -> list[list[int]]:
        """Return the tokens of the running beams, the prompt included."""
        return [beam.tokens for beam in self._running]

    @property
    def best(self) -> list[int]:
        """Return the tokens of the finished beam with the best score, the prompt included."""
        return self._finished[0].tokens

    def advance(self, logits: Floats) -> Ints:
        """Extend the beams by one token each; return the beam that each extends, int64 [num_beams].

        `logits` are float32 [num_beams, vocab] of the next token. Raises NonFiniteLogitsError for those without a
        finite maximum.
        """
        scores = np.stack([self._scores(*pair) for pair in zip(self._running, logits, strict=True)])
        candidates, parents = self._candidates(scores)
        running = [_Beam(beam.tokens, beam.score + _NEVER if beam.is_finished else beam.score) for beam in candidates]
        chosen = _largest([beam.score for beam in running], self._count)
        self._running = [running[index] for index in chosen]
        self._finish(candidates)
        length = len(candidates[0].tokens)
        self._can_improve &= self._may_improve(length)
        is_full = self._settings.early_stopping is True and all(beam.is_finished for beam in self._finished)
        has_next = not all(beam.is_finished for beam in candidates)
        self.is_done = not (self._can_improve and has_next) or is_full
        return parents[chosen]

    def _scores(self, beam: _Beam, logits: Floats) -> Floats:
        """Return the scores of a beam with each next token, float32 [vocab]."""
        require_finite(logits.max())
        settings = self._settings
        scores = self._processor(beam.tokens, _log_softmax(logits))
        if settings.temperature:
            kept, _ = distribution(scores, settings, least=len(self._ends) + 1 if self._ends else 2)
            scaled = np.full_like(scores, -np.inf)
            scaled[kept] = scores[kept] / np.float32(settings.temperature)
            scores = scaled
        if settings.renormalize_logits:
            scores = _log_softmax(scores)
        return scores + beam.score

    def _candidates(self, scores: Floats) -> tuple[list[_Beam], Ints]:
        """Return the best extensions, best first, and the beam that each extends.

        They are so many that `num_beams` of them do not end, even if each beam has every end token among them.
        """
        count = max(2, 1 + len(self._ends)) * self._count
        flat = scores.reshape(-1)
        if self._settings.temperature:
            # The largest of scores with Gumbel noise are a draw without replacement (Kool et al. 2019, section 2.3).
            drawn = _largest(flat + self._random.gumbel(size=flat.shape), count)
            order = drawn[_largest(flat[drawn], len(drawn))]
        else:
            order = _largest(flat, count)
        parents, tokens = np.divmod(order, scores.shape[1])
        beams = []
        for index, parent, token in zip(order.tolist(), parents.tolist(), tokens.tolist(), strict=True):
            extended = [*self._running[parent].tokens, token]
            ends = token in self._ends or len(extended) >= self._max_length
            beams.append(_Beam(extended, flat[index], ends))
        return beams, parents

    def _finish(self, candidates: Sequence[_Beam]) -> None:
        """Keep the best of the finished beams and of the candidates that end; only the first `num_beams` may."""
        settings = self._settings
        divisor = np.float32((len(candidates[0].tokens) - self._begin) ** settings.length_penalty)
        is_full = settings.early_stopping is True and all(beam.is_finished for beam in self._finished)
        is_closed = is_full or not self._can_improve
        merged = list(self._finished)
        for index, beam in enumerate(candidates):
            ends = beam.is_finished and index < self._count
            score = beam.score / divisor + (np.float32(0) if ends and not is_closed else _NEVER)
            merged.append(_Beam(beam.tokens, score, ends))
        self._finished = [merged[index] for index in _largest([beam.score for beam in merged], self._count)]

    def _may_improve(self, length: int) -> bool:
        """Return whether the best running beam may still exceed the worst finished one."""
        settings = self._settings
        if settings.early_stopping == "never" and settings.length_penalty > 0:
            length = self._max_length
        best = self._running[0].score / np.float32((length - self._begin) ** settings.length_penalty)
        worst = min(beam.score for beam in self._finished)
        return any(best > (worst if beam.is_finished else _NEVER) for beam in self._finished)


def decode_beams(
    sequences: Sequences,
    prompts: Ints,
    rows: Sequence[Row],
    searches: Sequence[BeamSearch],
    on_token: OnToken | None = None,
) -> Iterator[list[str]]:
    """Search until every row is done, then yield the text of each; after the prefill, yield empty texts.

    `prompts` are int64 [batch, seq] with -1 pads on the right. A prompt is processed once for all its beams.
    """
    count = len(searches[0].tokens)
    logits = np.repeat(sequences.append(prompts), count, axis=0)
    sequences.select(np.repeat(np.arange(len(rows)), count))
    yield [""] * len(rows)
    while True:
        parents = np.arange(len(rows) * count)
        tokens = np.full((len(rows) * count, 1), -1, np.int64)
        for index, search in enumerate(searches):
            if search.is_done:
                continue
            beams = slice(index * count, (index + 1) * count)
            parents[beams] = search.advance(logits[beams]) + index * count
            if not search.is_done:
                tokens[beams, 0] = [row[-1] for row in search.tokens]
        if all(search.is_done for search in searches):
            break
        sequences.select(parents)
        logits = sequences.append(sequences.restart(tokens, [beam for search in searches for beam in search.tokens]))
    yield [_write(index, row, searches[index], prompts, on_token) for index, row in enumerate(rows)]


def _write(index: int, row: Row, search: BeamSearch, prompts: Ints, on_token: OnToken | None) -> str:
    """Append the best beam's tokens to its row, and return the text."""
    text = ""
    for token in search.best[int((prompts[index] >= 0).sum()) :]:
        if row.finish_reason is not None:
            break
        is_output, piece = row.append(token)
        text += piece
        if is_output and on_token is not None:
            on_token(index, token)
    return text


def _log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max()
    result: Floats = shifted - np.log(np.exp(shifted).sum(dtype=np.float32))
    return result


def _largest(scores: Sequence[np.float32] | NDArray[np.floating], count: int) -> Ints:
    """Return the indices of the largest scores, largest first, and the first of equal ones first."""
    values = np.asarray(scores)
    if count < len(values) // 8:
        # Ties with the last one are kept until the sort.
        near = np.flatnonzero(values >= np.partition(values, -count)[-count])
        return near[np.argsort(-values[near], kind="stable")][:count]
    order: Ints = np.argsort(-values, kind="stable")[:count]
    return order
