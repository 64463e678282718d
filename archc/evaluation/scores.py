"""Log-probabilities of tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from archc.runtime.engine import Engine
from archc.runtime.serving.logprobs import log_probabilities

_PIECE = 128  # tokens of a call: logits of a large vocabulary take a megabyte for each

Floats = NDArray[np.float64]


def score(engine: Engine, rows: Sequence[Sequence[int]], counts: Sequence[int]) -> list[tuple[Floats, bool]]:
    """Score the last `counts` tokens of each row, given the tokens before them; counts are less than the lengths.

    Returns for each row the log-probabilities, natural, float64 [count], and whether each token has the largest logit.
    """
    inputs = [list(row[:-1]) for row in rows]
    starts = [len(row) - count for row, count in zip(rows, counts, strict=True)]
    longest = max(map(len, inputs))
    padded = np.full((len(rows), longest), -1, np.int64)
    for index, row in enumerate(inputs):
        padded[index, : len(row)] = row
    found = [np.zeros(count) for count in counts]
    is_greedy = [True] * len(rows)
    sequences = engine.sequences(len(rows), longest)
    step = longest if engine.manifest.prefix is not None else _PIECE
    for begin in range(0, longest, step):
        part = padded[:, begin : begin + step]
        if begin + part.shape[1] < min(starts):
            sequences.append(part, logits="none")
            continue
        logits = sequences.append(part, logits="all")
        for index, tokens in enumerate(rows):
            # The logits at position p are those of the token at p + 1.
            first, last = max(begin + 1, starts[index]), min(begin + part.shape[1] + 1, len(tokens))
            if first >= last:
                continue
            targets = np.asarray(tokens[first:last])
            values = logits[index, first - 1 - begin : last - 1 - begin]
            found[index][first - starts[index] : last - starts[index]] = log_probabilities(values, targets)
            is_greedy[index] &= bool((values.argmax(-1) == targets).all())
    return list(zip(found, is_greedy, strict=True))
