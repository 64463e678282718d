"""A convolution of values against numbers worked out by hand."""

from __future__ import annotations

import torch

from archc.compiler.modules.attention.value_convolution import ValueConvolution
from tests.compiler.modules.values import column, filled


def test_each_head_sums_the_values_around_a_token_and_no_padding() -> None:
    module = filled(ValueConvolution(3, 2, torch.float32), {"weight": [[1.0, 10.0, 100.0], [0.0, 1.0, 0.0]]})
    values = torch.tensor([[[[1.0], [2.0], [3.0]], [[4.0], [5.0], [6.0]]]])
    assert module(values, None).flatten(2).tolist() == [[[210, 321, 32], [4, 5, 6]]]
    assert module(values, column(1, 1, 0)).flatten(2).tolist() == [[[210, 21, 2], [4, 5, 0]]]
