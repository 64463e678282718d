"""Scores of classes: from logits, by the function that the plan states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from archc.runtime.errors import PromptError

Floats = NDArray[np.float32]

_LONGEST_SPAN = 64  # tokens; answers are short, and the number of spans grows with the length


class Span(NamedTuple):
    """The tokens from `first` to `last`, and the probability that they are the span."""

    first: int
    last: int
    score: float


def class_scores(logits: Floats, activation: Literal["softmax", "sigmoid", "none"]) -> Floats:
    """Return scores float32 […, labels]: the softmax over the labels, the sigmoid of each, or the logits."""
    if activation == "none":
        return logits
    if activation == "sigmoid":
        sigmoid: Floats = np.exp(-np.logaddexp(np.float32(0), -logits)).astype(np.float32)
        return sigmoid
    return _softmax(logits)


def best_span(logits: Floats, is_allowed: Sequence[bool]) -> Span | None:
    """Return the likeliest span of one row, logits [seq, 2] of begin and end; None if no token is allowed.

    Begin and end are independent, each a softmax over the allowed tokens (Rajpurkar et al. 2016; Devlin et al. 2018,
    section 4.2).
    """
    tokens = np.flatnonzero(np.asarray(is_allowed))
    if not len(tokens):
        return None
    begin, end = (_softmax(logits[tokens, side].astype(np.float64)) for side in (0, 1))
    joint = np.triu(np.outer(begin, end))
    joint[tokens[None, :] - tokens[:, None] >= _LONGEST_SPAN] = 0
    first, last = np.unravel_index(int(joint.argmax()), joint.shape)
    return Span(int(tokens[first]), int(tokens[last]), float(joint[first, last]))


def shorten(vectors: Floats, width: int | None) -> Floats:
    """Return the first `width` numbers of vectors [batch, hidden], of Euclidean norm 1 (Kusupati et al. 2022).

    Raises PromptError for a width that the vectors do not have.
    """
    if width is None:
        return vectors
    if not 1 <= width <= vectors.shape[1]:
        raise PromptError(f"width: expected 1 to {vectors.shape[1]}, the size of the plan's vectors, got {width}")
    cut = vectors[:, :width].astype(np.float64)
    norms = np.linalg.norm(cut, axis=1, keepdims=True)
    shortened: Floats = (cut / np.where(norms == 0, 1, norms)).astype(np.float32)
    return shortened


def _softmax(values: NDArray[np.floating]) -> Floats:
    shifted = np.exp(values - values.max(axis=-1, keepdims=True))
    softmax: Floats = shifted / shifted.sum(axis=-1, keepdims=True)
    return softmax
