"""Gated residual streams against numbers worked out by hand."""

from __future__ import annotations

from math import exp

import pytest
import torch

from archc.archspec import vocabulary as words
from archc.compiler.modules.basic.gated_streams import GatedStreams
from tests.compiler.modules.values import column, filled


def sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


def test_a_branch_reads_a_gated_mean_and_is_added_to_all_streams() -> None:
    # Two streams of width 1 with the values 3 and −4: a norm of width 1 is their sign, times its weight.
    word = words.GatedStreams(count=2, rank=1, norm=words.RmsNorm(eps=1e-12))
    parameters = {
        "norm.weight": [[2.0], [5.0]],
        "down.weight": [[1.0, 1.0]],
        "up.weight": [[0.0], [4.0]],
        "factors.weight": [[0.0, 0.0], [1.0, 0.0]],
    }
    streams = filled(GatedStreams(word, 1, torch.float32), parameters)
    assert isinstance(streams, GatedStreams)
    x = torch.tensor([[[3.0, -4.0]]])
    inputs, factors = streams.read(x)
    # The normed streams are 2 and −5, their projection is −3, and half of it −1.5.
    inner = -1.5 * sigmoid(-1.5)
    assert inputs.item() == pytest.approx((0.5 * 2 + sigmoid(4 * inner) * -5) / 2, rel=1e-5)
    assert factors[0].flatten().tolist() == pytest.approx([1.0, 2 * sigmoid(1.0)], rel=1e-5)
    written = streams.write(x, column(10), factors)
    assert written.flatten().tolist() == pytest.approx([3 + 10, -4 + 20 * sigmoid(1.0)], rel=1e-5)
    assert streams(x).equal(inputs)
