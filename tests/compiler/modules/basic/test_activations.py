"""The learned activation, xIELU, against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from archc.compiler.modules.basic.activations import Xielu
from tests.compiler.modules.values import filled


@pytest.fixture
def xielu() -> nn.Module:
    # softplus(ln 2) = ln 3 and softplus(0) = ln 2.
    return filled(Xielu(torch.float32), {"alpha_p": [math.log(2)], "alpha_n": [0.0]})


def test_xielu(xielu: nn.Module) -> None:
    # Above: ln 3 · x² + x / 2. Below: (1/2 + ln 2) · (e^x − 1 − x) + x / 2.
    x = torch.tensor([2.0, 0.5, 0.0, -1.0, -30.0])
    n = 0.5 + math.log(2)
    expected = [4 * math.log(3) + 1, 0.25 * math.log(3) + 0.25, 0.0, n / math.e - 0.5, n * 29 - 15]
    assert xielu(x).tolist() == pytest.approx(expected, rel=1e-6)


def test_xielu_keeps_the_dtype_and_rounds_once(xielu: nn.Module) -> None:
    x = torch.linspace(-3, 3, 101).half()
    assert torch.equal(xielu(x), xielu(x.float()).half())
