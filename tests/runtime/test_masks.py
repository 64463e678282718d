"""Masks against their definition, written as loops."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from runtime.masks import build_mask
from runtime.plan import Mask


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 5)), min_size=1, max_size=3),
    st.one_of(st.none(), st.integers(1, 7)),
    st.integers(0, 2),
)
def test_causal_masks(rows, window, extra):
    past, new = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    seq = max(int(new.max()), 1) + extra
    total = int(past.max()) + seq
    mask = build_mask(Mask(kind="causal", window=window), past, new, seq, total)
    assert mask.shape == (len(rows), 1, seq, total)
    assert mask.dtype == np.bool_
    for row, query, key in np.ndindex(len(rows), seq, total):
        position = past[row] + query
        assert mask[row, 0, query, key] == (key <= position and (window is None or key > position - window))
    assert mask.any(-1).all()


@given(st.lists(st.integers(1, 6), min_size=1, max_size=3), st.one_of(st.none(), st.integers(1, 7)), st.integers(0, 9))
def test_bidirectional_masks(lengths, window, extra):
    new = np.array(lengths, np.int64)
    seq = int(new.max()) + extra
    mask = build_mask(Mask(kind="bidirectional", window=window), np.zeros_like(new), new, seq, seq)
    assert mask.shape == (len(lengths), 1, seq, seq)
    for row, query, key in np.ndindex(len(lengths), seq, seq):
        expected = key < new[row] and (window is None or abs(key - query) <= window)
        assert mask[row, 0, query, key] == (expected or (query >= new[row] and query == key))
    assert mask.any(-1).all()
