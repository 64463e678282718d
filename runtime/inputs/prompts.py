"""Checking what the caller gives: ids become int64 [batch, seq] with -1 pads on the right, or a PromptError."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archc.plan.manifest import Limits
from archc.runtime.errors import PromptError

Ints = NDArray[np.int64]
IdsLike = Sequence[int] | Sequence[Sequence[int]] | NDArray[Any]


def check_ids(ids: IdsLike, limits: Limits) -> tuple[Ints, Ints]:
    """Return the ids, int64 [batch, seq], and each row's length, int64 [batch].

    Raises PromptError for no row, an empty row, a row past the limit, an id outside the vocabulary, -1 before an id.
    """
    padded = as_rows(ids, "ids")
    lengths = row_lengths(padded)
    if not len(lengths):
        raise PromptError("the prompt is empty; give at least one token id")
    if not lengths.all():
        raise PromptError(f"{_row(padded, int(lengths.argmin()))} is empty; every prompt needs at least one token id")
    check_values(padded, limits)
    if lengths.max() > limits.max_seq_len:
        row = int(lengths.argmax())
        raise PromptError(
            f"{_row(padded, row)} has {lengths[row]} tokens, but this plan takes at most {limits.max_seq_len}: "
            "shorten it, or build with a larger --max-seq-len"
        )
    return np.ascontiguousarray(padded[:, : int(lengths.max())]), lengths


def check_values(padded: Ints, limits: Limits) -> None:
    """Raise PromptError unless each row is ids of the vocabulary and then -1 pads, if any."""
    wrong = (padded < -1) | (padded >= limits.vocab_size)
    if wrong.any():
        row, column = (int(i) for i in np.argwhere(wrong)[0])
        raise PromptError(
            f"{_row(padded, row)} has id {padded[row, column]} at position {column}, but this plan's ids run from 0 to "
            f"{limits.vocab_size - 1} (-1 is padding): was the text encoded with another model's tokenizer?"
        )
    gap = (padded[:, :-1] < 0) & (padded[:, 1:] >= 0)
    if gap.any():
        row, column = (int(i) for i in np.argwhere(gap)[0])
        raise PromptError(
            f"{_row(padded, row)} has -1 at position {column} and an id after it; padding goes at the right end"
        )


def check_token_types(token_types: IdsLike | None, ids: Ints, takes_them: bool) -> Ints | None:
    """Return token types, int64 [batch, seq], zeros where `ids` are padding; raise PromptError for another shape."""
    if token_types is None:
        return None
    if not takes_them:
        raise PromptError("this plan takes no token_type_ids; leave them out")
    types = as_rows(token_types, "token_type_ids")
    types = types[:, : ids.shape[1]] if (types[:, ids.shape[1] :] < 0).all() else types
    if types.shape != ids.shape or ((types < 0) & (ids >= 0)).any():
        raise PromptError(
            f"token_type_ids are {list(types.shape)}, but ids are {list(ids.shape)}: one type for each id"
        )
    return np.where(ids < 0, 0, types)


def as_rows(values: IdsLike, name: str) -> Ints:
    """Return `values` as int64 [batch, seq], rows of different lengths padded with -1; a flat list is one row."""
    if isinstance(values, str | bytes):
        raise PromptError(f"{name} are text; encode it first with engine.tokenizer.encode(text)")
    try:
        rows = [values] if len(values) and np.ndim(values[0]) == 0 else values
        arrays = [np.asarray(row) for row in rows]
    except (TypeError, ValueError, OverflowError, IndexError) as error:
        raise PromptError(f"{name} are not rows of whole numbers: {error}") from None
    for row, array in enumerate(arrays):
        if array.ndim != 1 or (array.size and array.dtype.kind not in "iu") or array.dtype == np.uint64:
            raise PromptError(
                f"{name}, row {row}: found {array.dtype} {list(array.shape)}; expected whole numbers below 2^63"
            )
    padded = np.full((len(arrays), max((len(array) for array in arrays), default=0)), -1, np.int64)
    for row, array in enumerate(arrays):
        padded[row, : len(array)] = array
    return padded


def row_lengths(padded: Ints) -> Ints:
    """Return how many ids each row of [batch, seq] has, int64 [batch]."""
    lengths: Ints = np.count_nonzero(padded != -1, axis=1).astype(np.int64)
    return lengths


def _row(padded: Ints, row: int) -> str:
    return "the prompt" if len(padded) == 1 else f"prompt {row} (of {len(padded)}, from 0)"
