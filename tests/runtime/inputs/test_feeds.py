"""The small inputs of a call, by role."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec import convert

from archc.plan import Manifest
from archc.runtime.inputs.feeds import Feeder


def _feeder(manifest, *mask_length):
    return Feeder(manifest.inputs, manifest.limits, *mask_length)


PADDED = np.array([[5, 6, 7], [8, -1, -1]])


@pytest.fixture
def feeder(tiny):
    _, manifest, _ = tiny.model()
    return _feeder(convert(manifest, Manifest))


def feeds(feeder, ids, past, new, capacity=0):
    arrays = [np.array(values, np.int64) for values in (ids, past, new)]
    return feeder.feeds(*arrays, np.zeros((len(ids), 0), np.int64), capacity=capacity)


def test_padding_is_id_0_at_the_last_position_of_its_row(feeder):
    inputs = feeds(feeder, PADDED, [10, 20], [3, 1])
    assert inputs["input_ids"].tolist() == [[5, 6, 7], [8, 0, 0]]
    assert inputs["position_ids"].tolist() == [[10, 11, 12], [20, 20, 20]]


def test_slots_are_written_after_the_tokens_of_each_row(feeder):
    assert feeds(feeder, PADDED, [10, 20], [3, 1], capacity=64)["write_indices"].tolist() == [10, 20]
    assert feeds(feeder, PADDED, [10, 20], [3, 1])["write_indices"].tolist() == [10, 20]


def test_a_full_row_writes_its_padding_into_its_last_slot(feeder):
    inputs = feeds(feeder, [[-1], [9]], [64, 3], [0, 1], capacity=64)
    assert inputs["write_indices"].tolist() == [63, 3]
    assert inputs["attn_mask"].shape == (2, 1, 1, 64)
    assert inputs["attn_mask"][1, 0, 0].tolist() == [True] * 4 + [False] * 60


def test_positions_do_not_exceed_the_maximum_length(feeder, tiny):
    inputs = feeds(feeder, [[-1], [9]], [tiny.limit, 3], [0, 1])
    assert inputs["position_ids"].tolist() == [[tiny.limit - 1], [3]]


def test_masks_have_the_length_that_the_backend_returns(tiny):
    _, manifest, _ = tiny.model()
    feeder = _feeder(convert(manifest, Manifest), lambda total, seq: -(-total // 16) * 16)
    assert feeds(feeder, [[9]], [16], [1], capacity=64)["attn_mask"].shape == (1, 1, 1, 32)
    assert feeds(feeder, [[9]], [16], [1], capacity=20)["attn_mask"].shape == (1, 1, 1, 20)
