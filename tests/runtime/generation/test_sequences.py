"""Sequences: cached calls of any lengths equal one full call, and the cache grows with its contents."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archc.runtime import PromptError


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 263), min_size=1, max_size=24), min_size=1, max_size=3),
    st.lists(st.integers(0, 9), min_size=1, max_size=8),
)
def test_any_way_of_cutting_the_rows_gives_the_same_logits(decoder, rows, cuts):
    full = [decoder.logits(row)[0] for row in rows]
    sequences = decoder.sequences(len(rows))
    taken = [0] * len(rows)
    turn = 0
    while any(done < len(row) for done, row in zip(taken, rows, strict=True)):
        sizes = [min(cuts[(turn + i) % len(cuts)], len(row) - taken[i]) for i, row in enumerate(rows)]
        if not any(sizes):
            sizes = [min(1, len(row) - taken[i]) for i, row in enumerate(rows)]
        parts = [row[taken[i] : taken[i] + sizes[i]] for i, row in enumerate(rows)]
        got = sequences.append(parts, logits="all")
        for i, size in enumerate(sizes):
            if size:
                assert np.abs(got[i, :size] - full[i][taken[i] : taken[i] + size]).max() < 1e-4
            taken[i] += size
        turn += 1
    assert sequences.lengths.tolist() == [len(row) for row in rows]


def test_the_cache_is_one_buffer_for_past_and_present_until_it_grows(decoder):
    sequences = decoder.sequences(1, capacity=8)
    buffers = [binding.buffer for binding in sequences._cache.bindings]
    addresses = [buffer.address for buffer in buffers]
    sequences.append([[1, 2, 3]], logits="none")
    held = buffers[0].host.copy()
    assert held[:, :, :3].any(axis=(0, 1, 3)).all()
    assert not held[:, :, 3:].any()
    for token in range(4):
        sequences.append([[token]], logits="none")
    assert [b.buffer.address for b in sequences._cache.bindings] == addresses
    assert np.array_equal(buffers[0].host[:, :, :3], held[:, :, :3])
    assert all(address % 64 == 0 for address in addresses)


def test_capacity_is_hardly_more_than_what_is_held_and_stays_under_the_limit(tiny, tmp_path):
    from archc import runtime

    def change(model, manifest):
        manifest["limits"]["max_seq_len"] = 1000

    tiny_long = runtime.load(tiny.write(tmp_path / "p", change=change), threads=1)
    sequences = tiny_long.sequences(1)
    assert sequences.capacity == 0
    seen = []
    for _ in range(5):
        sequences.append([[1, 2, 3]], logits="none")
        seen.append(sequences.capacity)
    assert set(seen) == {64}
    sequences.reserve(65)
    assert sequences.capacity == 128
    sequences.reserve(129)
    assert sequences.capacity == 192
    sequences.reserve(600)
    assert sequences.capacity == 640
    sequences.reserve(641)
    assert sequences.capacity == 768  # an eighth more, in whole blocks of 64
    sequences.reserve(999)
    assert sequences.capacity == 1000


def test_growth_keeps_what_was_cached(decoder, tiny):
    ids = list(range(1, 41))
    expected = tiny.expected(ids)
    sequences = decoder.sequences(1, capacity=2)
    got = np.concatenate([sequences.append([[token]], logits="last") for token in ids])
    assert np.abs(got - expected).max() < 1e-4


def test_logits_none_returns_nothing_and_still_advances(decoder, tiny):
    sequences = decoder.sequences(1)
    assert sequences.append([[5, 6]], logits="none") is None
    assert np.abs(sequences.append([[7]])[0] - tiny.expected([5, 6, 7])[2]).max() < 1e-4
    assert sequences.append([[8, 9]], logits="none") is None
    assert np.abs(sequences.append([[1]], logits="all")[0, 0] - tiny.expected([5, 6, 7, 8, 9, 1])[5]).max() < 1e-4


def test_a_full_row_may_wait_while_another_goes_on(decoder, tiny):
    full, short = list(range(tiny.limit)), [4, 5]
    sequences = decoder.sequences(2)
    sequences.append([full, short], logits="none")
    last = sequences.append([[], [6]])
    assert np.abs(last[1] - tiny.expected([4, 5, 6])[2]).max() < 1e-4
    assert sequences.lengths.tolist() == [tiny.limit, 3]
    with pytest.raises(PromptError, match="sequence 0: expected at most 64 tokens, got 65"):
        sequences.append([[1], [1]])


CALLS = {
    "too few rows": ([[1]], "last", r"ids: expected 2 rows with at least one new token, got shape \[1, 1\]"),
    "no tokens": ([[], []], "last", r"ids: expected 2 rows with at least one new token, got shape \[2, 0\]"),
    "unknown logits": ([[1], [2]], "some", "logits: expected 'last', 'all' or 'none', got 'some'"),
    "outside of the vocabulary": ([[1], [264]], "last", "got id 264"),
}


@pytest.mark.parametrize(("ids", "logits", "message"), CALLS.values(), ids=CALLS)
def test_bad_calls_are_explained_and_change_nothing(decoder, ids, logits, message):
    sequences = decoder.sequences(2)
    with pytest.raises(PromptError, match=message):
        sequences.append(ids, logits=logits)
    assert sequences.lengths.tolist() == [0, 0]
