"""Validation of a caller's ids: int64 [batch, seq] with -1 pads on the right, or a PromptError."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archc.plan.records import Limits
from archc.runtime.errors import PromptError, fit_length

Ints = NDArray[np.int64]
IdsLike = Sequence[int] | Sequence[Sequence[int]] | NDArray[Any]


def check_ids(ids: IdsLike, limits: Limits) -> tuple[Ints, Ints]:
    """Return the ids, int64 [batch, seq], and the length of each row, int64 [batch].

    Raises PromptError for no rows, an empty row, a row past the limit, an id outside of the vocabulary, or a pad
    before an id.
    """
    padded = as_rows(ids, "ids")
    lengths = row_lengths(padded)
    if not len(lengths):
        raise PromptError("the prompt is empty; pass at least one token id")
    if not lengths.all():
        raise PromptError(f"{_row(padded, int(lengths.argmin()))} is empty; pass at least one token id in each row")
    check_values(padded, limits)
    if lengths.max() > limits.max_seq_len:
        row = int(lengths.argmax())
        raise PromptError(
            f"{_row(padded, row)}: expected at most {limits.max_seq_len} tokens, got {lengths[row]}; "
            f"{fit_length('shorten it', limits)}"
        )
    return np.ascontiguousarray(padded[:, : int(lengths.max())]), lengths


def check_values(padded: Ints, limits: Limits) -> None:
    """Raise PromptError unless each row is ids of the vocabulary followed by -1 pads, if any."""
    invalid = (padded < -1) | (padded >= limits.vocab_size)
    if invalid.any():
        row, column = (int(i) for i in np.argwhere(invalid)[0])
        raise PromptError(
            f"{_row(padded, row)}, position {column}: expected an id from 0 to {limits.vocab_size - 1} (-1 is "
            f"padding), got id {padded[row, column]}; encode the text with this model's tokenizer"
        )
    gap = (padded[:, :-1] < 0) & (padded[:, 1:] >= 0)
    if gap.any():
        row, column = (int(i) for i in np.argwhere(gap)[0])
        raise PromptError(
            f"{_row(padded, row)}, position {column}: -1 is followed by an id; put padding at the right end"
        )


def check_token_types(token_types: IdsLike | None, ids: Ints, is_input: bool, count: int | None = None) -> Ints | None:
    """Return token types, int64 [batch, seq], zero at pads of `ids`, or None.

    Raises PromptError if their shape is not that of `ids`, if one is not below `count` (unknown in older plans), or if
    the plan has no such input.
    """
    if token_types is None:
        return None
    if not is_input:
        raise PromptError("token_type_ids is not supported by this plan; leave it out")
    types = as_rows(token_types, "token_type_ids")
    types = types[:, : ids.shape[1]] if (types[:, ids.shape[1] :] < 0).all() else types
    if types.shape == ids.shape:
        invalid = ((types < 0) | (types >= (count or 2**62))) & (ids >= 0)
        if invalid.any():
            row, column = (int(i) for i in np.argwhere(invalid)[0])
            expected = "of at least 0" if count is None else f"from 0 to {count - 1}"
            raise PromptError(
                f"token_type_ids of {_row(ids, row)}, position {column}: expected a type {expected}, got "
                f"{types[row, column]}"
            )
    else:
        raise PromptError(
            f"token_type_ids: expected one type for each id, shape {list(ids.shape)}, got {list(types.shape)}"
        )
    return np.where(ids < 0, 0, types)


def as_rows(values: IdsLike, name: str) -> Ints:
    """Return `values` as int64 [batch, seq], with rows padded with -1; a flat list is one row."""
    if isinstance(values, str | bytes):
        raise PromptError(f"{name}: expected token ids, got text; encode it with engine.tokenizer.encode(text)")
    try:
        rows = [values] if len(values) and np.ndim(values[0]) == 0 else values
        arrays = [np.asarray(row) for row in rows]
    except (TypeError, ValueError, OverflowError, IndexError) as error:
        raise PromptError(f"{name}: expected rows of integers: {error}") from None
    for row, array in enumerate(arrays):
        if array.ndim != 1 or (array.size and array.dtype.kind not in "iu") or array.dtype == np.uint64:
            raise PromptError(
                f"{name}, row {row}: expected integers below 2^63, got {array.dtype} of shape {list(array.shape)}"
            )
    padded = np.full((len(arrays), max((len(array) for array in arrays), default=0)), -1, np.int64)
    for row, array in enumerate(arrays):
        padded[row, : len(array)] = array
    return padded


def row_lengths(padded: Ints) -> Ints:
    """Return the number of ids in each row of [batch, seq], int64 [batch]."""
    lengths: Ints = np.count_nonzero(padded != -1, axis=1).astype(np.int64)
    return lengths


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """Return the number of equal tokens at the start of both."""
    length = min(len(first), len(second))
    differ = np.flatnonzero(np.asarray(first[:length]) != np.asarray(second[:length]))
    return int(differ[0]) if len(differ) else length


def _row(padded: Ints, row: int) -> str:
    return "the prompt" if len(padded) == 1 else f"prompt {row} of {len(padded)} (from 0)"


def longest_draft(limits: Limits, length: int) -> int:
    """Return how many tokens may follow the next one of a sequence of `length` tokens in a call, and be taken back.

    The ring buffer of a window has room for the longest call besides, so that a call overwrites no key that is visible
    after a shorter one.
    """
    room = limits.max_seq_len - length - 1
    if limits.max_call is not None:
        room = min(room, limits.max_call - 1)
    past = limits.reread_past
    return min(room, past - length - 1) if past is not None and length <= past else room
