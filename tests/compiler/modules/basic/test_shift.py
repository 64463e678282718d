"""Inputs of earlier positions, and the tails that are state between calls."""

from __future__ import annotations

import pytest
import torch

from archc.compiler.modules.basic.shift import next_tail, shift, tail_state, with_tail
from tests.compiler.modules.values import column


def test_a_sequence_begins_with_zeros_or_with_the_tail_of_an_earlier_call() -> None:
    assert with_tail(column(3, 4), None, 2).flatten().tolist() == [0, 0, 3, 4]
    assert with_tail(column(3, 4), column(1, 2), 2).flatten().tolist() == [1, 2, 3, 4]
    assert with_tail(column(3).half(), None, 1).dtype == torch.float16


def test_a_shift_is_the_position_before() -> None:
    assert shift(column(3, 4, 5), None).flatten().tolist() == [0, 3, 4]
    assert shift(column(3, 4, 5), column(2)).flatten().tolist() == [2, 3, 4]
    assert shift(column(3), None).flatten().tolist() == [0]


@pytest.mark.parametrize(
    ("old", "tails"),
    [
        pytest.param([9], [[3], [1], [9]], id="one input"),
        pytest.param([8, 9], [[2, 3], [9, 1], [8, 9]], id="two inputs"),
        pytest.param([6, 7, 8, 9], [[9, 1, 2, 3], [7, 8, 9, 1], [6, 7, 8, 9]], id="more than the call has"),
    ],
)
def test_the_tail_is_the_last_real_inputs_of_each_row(old: list[int], tails: list[list[int]]) -> None:
    x, tail = column(1, 2, 3).expand(3, 3, 1), column(*old).expand(3, len(old), 1)
    assert next_tail(x, tail, torch.tensor([3, 1, 0]))[:, :, 0].tolist() == tails


def test_there_is_no_tail_without_a_cache() -> None:
    assert tail_state(column(1, 2), {}, "shift", None) == {}
    state = tail_state(column(1, 2), {"shift": column(0), "other": column(7)}, "shift", torch.tensor([1]))
    assert {name: tail.flatten().tolist() for name, tail in state.items()} == {"shift": [1]}
