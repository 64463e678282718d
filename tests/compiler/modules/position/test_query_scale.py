"""Factors on queries against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from archc.archspec import vocabulary as words
from archc.compiler.modules.position.query_scale import QueryScale


def factors(word: words.QueryScale, *positions: int) -> list[float]:
    values = QueryScale(word, torch.float32)(torch.tensor([positions]))
    assert values.shape == (1, 1, len(positions), 1)
    result: list[float] = values.flatten().tolist()
    return result


def test_log_scale_begins_past_the_trained_length() -> None:
    assert factors(words.LogScale(trained=4), 0, 3, 4, 15) == pytest.approx([1, 1, math.log(5) / math.log(4), 2])


def test_learned_scale_reads_the_log_of_the_position() -> None:
    assert factors(words.LearnedLogScale(), 0, 1, 6) == pytest.approx([0, math.log(2), math.log(7)])


def test_power_scale() -> None:
    word = words.PowerScale(exponent=0.5, span=4, first=1)
    assert factors(word, 0, 3, 11) == pytest.approx([1.25**0.5, 2**0.5, 2])


def test_stepped_log_scale() -> None:
    word = words.SteppedLogScale(coefficient=0.5, span=4)
    assert factors(word, 0, 3, 4, 8) == pytest.approx([1, 1, 1 + 0.5 * math.log(2), 1 + 0.5 * math.log(3)])
    from_one = words.SteppedLogScale(coefficient=0.5, span=4, first=1)
    assert factors(from_one, 2, 3) == pytest.approx([1, 1 + 0.5 * math.log(2)])
