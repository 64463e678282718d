"""The functions of MLPs against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from archc.compiler.modules.mlp.mlp import Xielu


@pytest.fixture
def xielu() -> Xielu:
    made = Xielu(torch.float32)
    with torch.no_grad():
        # softplus(ln 2) = ln 3 and softplus(0) = ln 2.
        made.alpha_p.fill_(math.log(2))
        made.alpha_n.fill_(0.0)
    return made


def test_xielu(xielu: Xielu) -> None:
    # Above: ln 3 · x² + x / 2. Below: (1/2 + ln 2) · (e^x − 1 − x) + x / 2.
    x = torch.tensor([2.0, 0.5, 0.0, -1.0, -30.0])
    n = 0.5 + math.log(2)
    expected = [4 * math.log(3) + 1, 0.25 * math.log(3) + 0.25, 0.0, n / math.e - 0.5, n * 29 - 15]
    assert xielu(x).tolist() == pytest.approx(expected, rel=1e-6)


def test_xielu_keeps_the_dtype_and_rounds_once(xielu: Xielu) -> None:
    x = torch.linspace(-3, 3, 101).half()
    assert torch.equal(xielu(x), xielu(x.float()).half())
