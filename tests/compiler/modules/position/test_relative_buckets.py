"""Buckets of distances against the formula of Raffel et al. 2020, worked out by hand."""

from __future__ import annotations

import torch

from archc.archspec import vocabulary as words
from archc.compiler.modules.position.relative_buckets import (
    DistanceRows,
    RelativeBuckets,
    buckets_of_distances,
    rows_of_distances,
)


def test_near_distances_have_a_bucket_each_and_far_ones_grow_by_powers() -> None:
    # 8 buckets up to 32: distances 0 to 3 alone; then 4 + floor(ln(n / 4) / ln 8 · 4): 4 to 6, 7 to 11, 12 to 19, on.
    assert buckets_of_distances(8, 32).tolist() == [0, 1, 2, 3, *[4] * 3, *[5] * 5, *[6] * 8, *[7] * 13]


def test_the_published_sizes() -> None:
    # 32 buckets up to 128 on one side: 16 + floor(ln(n / 16) / ln 8 · 16).
    found = buckets_of_distances(32, 128).tolist()
    expected = {15: 15, 16: 16, 18: 16, 19: 17, 20: 17, 31: 21, 63: 26, 91: 29, 113: 31, 127: 31, 128: 31}
    assert {distance: found[distance] for distance in expected} == expected
    assert found == sorted(found)


def test_a_decoders_keys_lie_behind() -> None:
    buckets = RelativeBuckets(words.RelativeBuckets(buckets=8, max_distance=32), both_sides=False)
    found = buckets(torch.tensor([[2, 40], [0, 7]]), 4)
    # Row 0: a query at 2 of keys 0 to 3, and one at 40, which is farther than 32 from all of them.
    assert found.tolist() == [[[2, 1, 0, 0], [7, 7, 7, 7]], [[0, 0, 0, 0], [5, 4, 4, 4]]]


def test_an_encoders_keys_lie_on_both_sides() -> None:
    buckets = RelativeBuckets(words.RelativeBuckets(buckets=8, max_distance=6), both_sides=True)
    # Four buckets a side: 0, 1, then 2 + floor(ln(n / 2) / ln 3 · 2): 2 and 3, then 4 on; those ahead 4 further.
    assert buckets(torch.arange(6)[None], 6)[0].tolist() == [
        [0, 5, 6, 6, 7, 7],
        [1, 0, 5, 6, 6, 7],
        [2, 1, 0, 5, 6, 6],
        [2, 2, 1, 0, 5, 6],
        [3, 2, 2, 1, 0, 5],
        [3, 3, 2, 2, 1, 0],
    ]


def test_the_second_half_of_disentangled_buckets_grows_logarithmically() -> None:
    # 8 buckets up to 17: distances 0 to 4 alone; then 4 + ceil(ln(d / 4) / ln 4 · 3): up to 6, 10 and 16.
    assert rows_of_distances(8, 17).tolist() == [0, 1, 2, 3, 4, *[5] * 2, *[6] * 4, *[7] * 6, 8]
    assert rows_of_distances(3, None).tolist() == [0, 1, 2, 3]


def test_rows_of_keys_ahead_come_before_those_of_keys_behind() -> None:
    rows = DistanceRows(words.Disentangled(span=2))
    # query − key + 2, from 0 to 3.
    assert rows(torch.arange(4)[None], 4).tolist() == [[[2, 1, 0, 0], [3, 2, 1, 0], [3, 3, 2, 1], [3, 3, 3, 2]]]
