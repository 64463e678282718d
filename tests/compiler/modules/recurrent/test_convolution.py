"""The depthwise convolution of a selective scan against numbers worked out by hand."""

from __future__ import annotations

import torch

from archc.compiler.modules.recurrent.convolution import DepthwiseConvolution
from tests.compiler.modules.values import column, filled


def test_three_taps_and_the_tail_of_an_earlier_call() -> None:
    values = {"weight": [[100.0], [10.0], [1.0]], "bias": [0.5]}
    convolution = filled(DepthwiseConvolution(3, 1, True, torch.float32), values)
    assert convolution(column(1, 2, 3), None).flatten().tolist() == [1.5, 12.5, 123.5]
    assert convolution(column(3), column(1, 2)).flatten().tolist() == [123.5]


def test_taps_that_are_two_steps_apart() -> None:
    values = {"weight": [[100.0], [10.0], [1.0]]}
    convolution = filled(DepthwiseConvolution(3, 1, False, torch.float32, step=2), values)
    assert convolution(column(1, 2, 3, 4, 5), None).flatten().tolist() == [1, 2, 13, 24, 135]
    assert convolution(column(5, 6), column(1, 2, 3, 4)).flatten().tolist() == [135, 246]
