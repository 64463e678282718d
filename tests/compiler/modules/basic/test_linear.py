"""Grouped projections against a convolution with groups."""

from __future__ import annotations

import torch

from archc.compiler.modules.basic.linear import GroupedLinear, Linear, make_linear
from tests.compiler.modules.values import random_parameters


def test_groups_of_outputs_read_groups_of_inputs() -> None:
    module = random_parameters(GroupedLinear(6, 9, True, 3, torch.float32))
    convolution = torch.nn.Conv1d(6, 9, 1, groups=3)
    convolution.load_state_dict({"weight": module.weight[:, :, None], "bias": module.bias})
    x = torch.randn(2, 5, 6)
    torch.testing.assert_close(module(x), convolution(x.permute(0, 2, 1)).permute(0, 2, 1))


def test_one_group_is_a_plain_projection() -> None:
    assert isinstance(make_linear(6, 9, False, 1, torch.float32), Linear)
