"""Alternating updates, LAuReL and Gaussian top-k against numbers worked out by hand."""

from __future__ import annotations

from math import sqrt, tanh
from statistics import NormalDist

import pytest
import torch

from archc.archspec import vocabulary as words
from archc.compiler.modules.basic.laurel import Laurel
from archc.compiler.modules.basic.streams import AlternatingUpdates, FirstStreams, JoinedStreams
from archc.compiler.modules.mlp.mlp import gaussian_top_k
from tests.compiler.modules.values import column, filled

NO_NORM = words.NoNorm()


def updates(scale: bool = False) -> AlternatingUpdates:
    """Two streams of width 1, of which the second is active; the router's logits are x and 2 x."""
    word = words.AltUp(count=2, active=1, norm=NO_NORM, scale=scale)
    values = {"router.weight": [[1.0], [2.0]], "correction.weight": [[1.0, 0.0], [0.0, 10.0]]}
    values["prediction.weight"] = [[1.0, 0.0], [0.0, 1.0], [10.0, 0.0], [0.0, 10.0]]
    module = filled(AlternatingUpdates(word, 1, torch.float32), values | ({"scale": [3.0]} if scale else {}))
    assert isinstance(module, AlternatingUpdates)
    return module


def test_streams_are_predicted_from_each_other() -> None:
    predicted, active = updates().predict(torch.tensor([[[5.0, 0.5]]]))
    # Coefficients of the active stream 0.5: tanh(0.5) and tanh(1), the first for both streams' share of the first.
    first = 5.0 + tanh(0.5) * 5.0 + tanh(1.0) * 0.5
    second = 0.5 + 10 * tanh(0.5) * 5.0 + 10 * tanh(1.0) * 0.5
    assert predicted.flatten().tolist() == pytest.approx([first, second])
    assert active.item() == pytest.approx(second)


def test_streams_are_corrected_by_the_output() -> None:
    corrected = updates().correct(torch.tensor([[[[7.0], [2.0]]]]), column(0.5))
    error = 0.5 - 2.0
    expected = [7.0 + (1 + tanh(0.5)) * error, 2.0 + (1 + 10 * tanh(1.0)) * error]
    assert corrected.flatten().tolist() == pytest.approx(expected)


@pytest.mark.parametrize(("scale", "expected"), [(False, 2.0), (True, 6.0)])
def test_the_active_stream_is_scaled(scale: bool, expected: float) -> None:
    assert updates(scale).active(torch.tensor([[[[7.0], [2.0]]]])).item() == pytest.approx(expected)


def test_projected_streams_have_the_size_of_the_first() -> None:
    begin = filled(FirstStreams(2, 2, torch.float32), {"projection.weight": [[3.0, 0.0], [0.0, 4.0]]})
    x = torch.tensor([[[1.0, 1.0]]])
    # (3, 4) has the mean square 12.5, and (1, 1) has 1.
    streams = begin(x)
    assert streams.flatten().tolist() == pytest.approx([1.0, 1.0, 3 / sqrt(12.5), 4 / sqrt(12.5)])
    join = filled(JoinedStreams(2, 2, torch.float32), {"projections.0.weight": [[0.0, 1.0], [0.0, 1.0]]})
    assert join(torch.tensor([[[1.0, 3.0, 9.0, 2.0]]])).flatten().tolist() == pytest.approx(
        [(1 + sqrt(5)) / 2, (3 + sqrt(5)) / 2]
    )


def test_laurel_adds_the_input_and_its_low_rank_projection() -> None:
    word = words.Laurel(rank=1, norm=words.RmsNorm(eps=3.0), scale=0.5)
    laurel = filled(
        Laurel(word, 1, torch.float32), {"down.weight": [[0.5]], "up.weight": [[1.0]], "norm.weight": [10.0]}
    )
    # The projection is 0.5 · 2 = 1, and its norm 10 · 1 / sqrt(1 + 3) = 5.
    assert laurel(column(7.0), column(2.0)).item() == pytest.approx(0.5 * (7 + 2 + 5))


def test_gaussian_top_k_keeps_what_exceeds_the_quantile() -> None:
    y = gaussian_top_k(torch.tensor([[1.0, 3.0, 5.0, 7.0]]), 0.6)
    cutoff = 4 + NormalDist().inv_cdf(0.6) * sqrt(5.0)
    assert y[0].tolist() == pytest.approx([0.0, 0.0, 5 - cutoff, 7 - cutoff])
