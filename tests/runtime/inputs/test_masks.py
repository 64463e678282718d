"""Masks against their definition, written as loops."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from archc.plan import Mask
from archc.runtime.inputs.masks import build_mask


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 5)), min_size=1, max_size=3),
    st.one_of(st.none(), st.integers(1, 7)),
    st.booleans(),
    st.integers(0, 2),
)
def test_causal_masks(rows, window, chunked, extra):
    past, new = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    seq = max(int(new.max()), 1) + extra
    total = int(past.max()) + seq
    chunked = chunked and window is not None
    mask = build_mask(Mask(kind="causal", window=window, chunked=chunked), past, new, seq, total)
    assert mask.shape == (len(rows), 1, seq, total)
    assert mask.dtype == np.bool_
    for row, query, key in np.ndindex(len(rows), seq, total):
        position = past[row] + query
        near = window is None or (key // window == position // window if chunked else key > position - window)
        assert mask[row, 0, query, key] == (key <= position and near)
    assert mask.any(-1).all()


@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=3),
    st.one_of(st.none(), st.integers(1, 7)),
    st.booleans(),
    st.integers(0, 9),
)
def test_bidirectional_masks(lengths, window, chunked, extra):
    chunked = chunked and window is not None
    new = np.array(lengths, np.int64)
    seq = int(new.max()) + extra
    mask = build_mask(Mask(kind="bidirectional", window=window, chunked=chunked), np.zeros_like(new), new, seq, seq)
    assert mask.shape == (len(lengths), 1, seq, seq)
    for row, query, key in np.ndindex(len(lengths), seq, seq):
        near = window is None or (key // window == query // window if chunked else abs(key - query) <= window)
        expected = key < new[row] and near
        assert mask[row, 0, query, key] == (expected or (query >= new[row] and query == key))
    assert mask.any(-1).all()


@given(
    st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=12), min_size=1, max_size=3),
    st.integers(1, 7),
    st.booleans(),
    st.integers(5, 8),
)
def test_masks_over_rings(rows, window, chunked, longest):
    """A ring is played through call by call: a query sees exactly the tokens of its window, and the ring holds them."""
    calls = np.array([[*row, *[0] * (12 - len(row))] for row in rows], np.int64).T
    slots = window + longest - 1
    past = np.zeros(len(rows), np.int64)
    held = np.full((len(rows), slots), -1)  # each slot's token, by position
    for new in calls:
        seq = max(int(new.max()), 1)
        for row, step in np.ndindex(len(rows), seq):
            held[row, (past[row] + step) % slots] = past[row] + step if step < new[row] else -2
        total = int(past.max()) + seq
        ring = Mask(kind="causal", window=window, ring=True, chunked=chunked)
        mask = build_mask(ring, past, new, seq, min(slots, total), slots=slots)
        assert mask.shape == (len(rows), 1, seq, min(slots, total))
        for row in range(len(rows)):
            for query in range(new[row]):
                position = past[row] + query
                seen = sorted(held[row, : mask.shape[-1]][mask[row, 0, query]])
                first = position // window * window if chunked else max(0, position - window + 1)
                assert seen == list(range(first, position + 1))
        past = past + new
