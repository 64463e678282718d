"""Differential attention against numbers worked out by hand."""

from __future__ import annotations

from math import exp, sqrt

import pytest
import torch

from archc.archspec import vocabulary as words
from archc.compiler.modules.attention.differential import DifferentialHeads
from tests.compiler.modules.values import filled

WORD = words.DifferentialHeads(init=0.25, norm=words.RmsNorm(eps=1.0, affine=False))
VECTORS = {"q1": [0.5], "k1": [2.0], "q2": [-1.0], "k2": [0.5]}


def module() -> DifferentialHeads:
    made: DifferentialHeads = filled(DifferentialHeads(WORD, 1, torch.float32), VECTORS)
    return made


def test_the_second_half_of_the_heads_is_subtracted_and_the_difference_normed() -> None:
    factor = exp(0.5 * 2.0) - exp(-1.0 * 0.5) + 0.25
    heads = torch.tensor([[[[3.0, 5.0]], [[7.0, -2.0]], [[1.0, 2.0]], [[-4.0, 6.0]]]])
    expected = []
    for first, second in (((3.0, 5.0), (1.0, 2.0)), ((7.0, -2.0), (-4.0, 6.0))):
        x, y = (a - factor * b for a, b in zip(first, second, strict=True))
        expected += [0.75 * value / sqrt((x * x + y * y) / 2 + 1.0) for value in (x, y)]
    assert module()(heads).flatten().tolist() == pytest.approx(expected)


def test_both_halves_have_the_values_of_a_pair() -> None:
    values = torch.tensor([[[[1.0]], [[2.0]], [[3.0]], [[4.0]]]])
    assert module().pair(values).squeeze(2).tolist() == [[[1, 3], [2, 4], [1, 3], [2, 4]]]
