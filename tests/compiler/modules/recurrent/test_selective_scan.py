"""The depthwise convolution of a selective scan against numbers worked out by hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.compiler.modules.recurrent.selective_scan import DepthwiseConvolution, last_inputs


def column(*values: float) -> Tensor:
    return torch.tensor([[[float(value)] for value in values]])


def test_three_taps_and_the_tail_of_an_earlier_call() -> None:
    convolution = DepthwiseConvolution(3, 1, True, torch.float32)
    convolution.weight = nn.Parameter(torch.tensor([[100.0], [10.0], [1.0]]))
    convolution.bias = nn.Parameter(torch.tensor([0.5]))
    assert convolution(column(1, 2, 3), None).flatten().tolist() == [1.5, 12.5, 123.5]
    assert convolution(column(3), column(1, 2)).flatten().tolist() == [123.5]


def test_the_tail_is_the_last_real_inputs_of_each_row() -> None:
    x, tail = column(1, 2, 3).expand(3, 3, 1), column(8, 9).expand(3, 2, 1)
    assert last_inputs(x, tail, torch.tensor([3, 1, 0]))[:, :, 0].tolist() == [[2, 3], [9, 1], [8, 9]]
