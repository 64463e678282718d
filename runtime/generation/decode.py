"""The decode loop, and its sources of next tokens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np

from archc.runtime.generation.guesses import Draft
from archc.runtime.generation.row import Row
from archc.runtime.generation.sampling import Floats, Sampler
from archc.runtime.generation.sequences import Sequences
from archc.runtime.generation.speculation import Speculator
from archc.runtime.inputs.prompts import Ints

OnToken = Callable[[int, int], object]
"""A callback with row and token, for each token as it is chosen."""


class TokenSource(Protocol):
    """A model and its samplers: appends tokens to all rows, then chooses the next token of each."""

    def append(self, ids: Ints) -> None:
        """Append int64 [batch, seq] with -1 pads on the right; rows of pads alone do not advance."""
        ...

    def choose(self, row: int) -> int:
        """Return the next token of a row; raise NonFiniteLogitsError if its logits have no finite maximum."""
        ...


class Greedy:
    """Next tokens from an argmax in the graph: no logits leave the device."""

    def __init__(self, sequences: Sequences, samplers: Sequence[Sampler]) -> None:
        self._sequences, self._samplers = sequences, samplers
        self._tokens: Ints = np.zeros(0, np.int64)
        self._logits: Floats = np.zeros(0, np.float32)

    def append(self, ids: Ints) -> None:
        """Append tokens to all rows."""
        ids = self._sequences.restart(ids, [sampler.tokens for sampler in self._samplers])
        self._tokens, self._logits = self._sequences.append_greedily(ids)

    def choose(self, row: int) -> int:
        """Return the argmax of a row."""
        return self._samplers[row].choose_argmax(int(self._tokens[row]), float(self._logits[row]))


class Sampled:
    """Next tokens from the logits, by the sampling options."""

    def __init__(self, sequences: Sequences, samplers: Sequence[Sampler]) -> None:
        self._sequences, self._samplers = sequences, samplers
        self._logits: Floats = np.zeros((0, 0), np.float32)

    def append(self, ids: Ints) -> None:
        """Append tokens to all rows."""
        ids = self._sequences.restart(ids, [sampler.tokens for sampler in self._samplers])
        self._logits = self._sequences.append(ids)

    def choose(self, row: int) -> int:
        """Return a token that the row's sampler chooses."""
        return self._samplers[row].choose(self._logits[row])


def token_source(sequences: Sequences, samplers: Sequence[Sampler]) -> TokenSource:
    """Return `Greedy` if the graph computes the argmax and every row needs no more, otherwise `Sampled`."""
    if sequences.has_argmax and all(sampler.is_argmax for sampler in samplers):
        return Greedy(sequences, samplers)
    return Sampled(sequences, samplers)


def decode(
    source: TokenSource, prompts: Ints, rows: Sequence[Row], on_token: OnToken | None = None
) -> Iterator[list[str]]:
    """Generate until every row is finished; yield the new text of each row, after the prefill (empty) and each step.

    `prompts` are int64 [batch, seq] with -1 pads on the right. A finished row keeps its place in the batch.
    """
    source.append(prompts)
    yield [""] * len(rows)
    while True:
        tokens = np.full((len(rows), 1), -1, np.int64)
        texts = [""] * len(rows)
        for index, row in enumerate(rows):
            if row.finish_reason is not None:
                continue
            token = source.choose(index)
            is_output, texts[index] = row.append(token)
            if is_output and on_token is not None:
                on_token(index, token)
            if row.finish_reason is None:
                tokens[index] = token
        yield texts
        if all(row.finish_reason is not None for row in rows):
            return
        source.append(tokens)


def decode_speculatively(
    sequences: Sequences,
    prompts: Ints,
    row: Row,
    sampler: Sampler,
    speculator: Speculator,
    on_token: OnToken | None = None,
) -> Iterator[list[str]]:
    """Generate one row as `decode` does, with the same tokens; a call appends the last token and a proposal.

    `prompts` are int64 [1, seq]. Yields the new text after the prefill (empty) and each token.
    """
    logits = sequences.append(prompts)
    draft: Draft = ()
    yield [""]
    while True:
        used = 0
        for scores, guess in zip(logits, [*draft, None], strict=True):
            token = sampler.choose(scores, guess)
            is_output, text = row.append(token)
            if is_output and on_token is not None:
                on_token(0, token)
            used += 1
            yield [text]
            if row.finish_reason is not None:
                return
            if guess is None or token != guess.token:
                break
        sequences.rewind(len(logits) - used)
        if draft:
            speculator.note(len(draft), used - 1)
        tokens = sampler.tokens[int(sequences.lengths[0]) :]
        again = len(tokens) - 1
        draft = speculator.draft(sampler, min(sequences.longest_draft - again, row.left - 1), again)
        begin = time.perf_counter()
        ids = np.array([[*tokens, *(guess.token for guess in draft)]])
        appended = sequences.append(sequences.restart(ids, [sampler.tokens]), logits="all")[0]
        logits = appended[-1 - len(draft) :]
        speculator.costs.note(1, ids.shape[1], time.perf_counter() - begin)
