"""Localized filtering against numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch

from archc.archspec import vocabulary as words
from archc.compiler.modules.attention.localized_filter import LocalizedFilter, TwoTapConvolution
from tests.compiler.modules.values import column, filled


def test_two_taps_and_the_tail_of_an_earlier_call() -> None:
    values = {"previous.weight": [[10.0]], "current.weight": [[1.0]], "current.bias": [0.5]}
    convolution = filled(TwoTapConvolution(1, 1, torch.float32), values)
    assert convolution(column(1, 2, 3), None).flatten().tolist() == [1.5, 12.5, 23.5]
    assert convolution(column(3), column(2)).flatten().tolist() == [23.5]


def test_the_second_convolution_begins_at_zero_and_not_at_the_first_ones_bias() -> None:
    taps = {"previous.weight": [[1.0]], "current.weight": [[1.0]], "current.bias": [2.0]}
    values = {f"{part}.{name}": value for part in ("first", "second") for name, value in taps.items()}
    word = words.LocalizedFilter(width=1, norm=words.RmsNorm(eps=1e-6))
    module = filled(LocalizedFilter(word, 1, torch.float32), values | {"norm.weight": [1.0]})
    module.norm = torch.nn.Identity()
    # first: 1+2, 1+1+2; second: 3+2, 3+4+2; and the input itself.
    y, state = module(column(1, 1), {}, None)
    assert y.flatten().tolist() == [6, 10]
    assert state == {}
    empty = {"filter.input": column(0), "filter.inner": column(0)}
    first, state = module(column(1), empty, torch.tensor([1]))
    second, state = module(column(1), state, torch.tensor([1]))
    assert [first.item(), second.item()] == [6, 10]
    assert {name: tail.item() for name, tail in state.items()} == pytest.approx({"filter.input": 1, "filter.inner": 4})
