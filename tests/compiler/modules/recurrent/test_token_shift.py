"""Token shift against numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch

from archc.archspec import vocabulary as words
from archc.compiler.modules.recurrent.token_shift import make_shift
from tests.compiler.modules.values import column, filled


@pytest.mark.parametrize(
    ("weighs", "expected"), [("current", [0.5, 3.25]), ("previous", [1.5, 5.75])], ids=["current", "previous"]
)
def test_a_static_shift_weighs_what_it_says(weighs: str, expected: list[float]) -> None:
    shift = filled(make_shift(words.StaticShift(weighs=weighs), ("k",), 1, torch.float32), {"k": [0.25]})
    assert shift(column(2, 7), None)["k"].flatten().tolist() == pytest.approx(expected)
    assert shift(column(7), column(2))["k"].flatten().tolist() == pytest.approx(expected[1:])


def test_a_dynamic_shift_adds_its_path() -> None:
    shift = make_shift(words.DynamicShift(rank=1), ("k", "v"), 1, torch.float32)
    values = {"k": [0.5], "v": [0.0], "first": [1.0], "down.weight": [[1.0], [0.5]]}
    filled(shift, {**values, "up.k.weight": [[0.0]], "up.v.weight": [[2.0]]})
    # The path sees the previous vector: 0, then 2; half of it, through tanh, is a factor on the step.
    both = shift(column(2, 6), None)
    assert both["k"].flatten().tolist() == pytest.approx([1, 4])
    assert both["v"].flatten().tolist() == pytest.approx([2, 6 - 4 * 2 * float(torch.tanh(torch.tensor(1.0)))])
