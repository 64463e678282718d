"""Hyper-connections against numbers worked out by hand."""

from __future__ import annotations

from math import exp

import pytest
import torch

from archc.archspec import vocabulary as words
from archc.compiler.modules.basic.hyper_connections import HyperConnection, WeightedStreams, doubly_stochastic
from archc.compiler.modules.basic.streams import make_first_streams, make_joined_streams
from tests.compiler.modules.values import filled

NO_NORM = words.NoNorm()
SINKHORN = words.SinkhornMixing(iterations=2, eps=0.1)
X = torch.tensor([[[2.0, 3.0]]])  # two streams of width 1


def sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


def connection(mixing: words.SinkhornMixing | None = None) -> HyperConnection:
    """Logits are the first stream, times one scale for each part, and a bias for each weight."""
    word = words.HyperConnections(count=2, norm=NO_NORM, eps=0.5, write_scale=3.0, write_eps=0.25, mixing=mixing)
    rows = 4 if mixing is None else 8
    values = {"projection.weight": [[0.5, 0.0]] * rows, "scale": [1.0, 2.0, 3.0][: 2 if mixing is None else 3]}
    values["bias"] = [0.0, 1.0, 2.0, 3.0, 0.0, 1.0, 0.0, 0.0][:rows]
    module = filled(HyperConnection(word, 1), values)
    assert isinstance(module, HyperConnection)
    return module


def test_a_branch_reads_a_weighted_sum_and_adds_to_all_streams() -> None:
    module = connection()
    y, weights = module.read(X)
    assert y.item() == pytest.approx((sigmoid(1.0) + 0.5) * 2 + (sigmoid(2.0) + 0.5) * 3)
    written = [3 * sigmoid(2.0 + 2.0) + 0.25, 3 * sigmoid(2.0 + 3.0) + 0.25]
    after = module.write(X, torch.tensor([[[10.0]]]), weights)
    assert after.flatten().tolist() == pytest.approx([10 * written[0] + 2, 10 * written[1] + 3])


def test_streams_are_mixed_by_columns_of_the_weights() -> None:
    module = connection(SINKHORN)
    _, (_, mixing) = module.read(X)
    torch.testing.assert_close(mixing, doubly_stochastic(torch.tensor([[[[3.0, 4.0], [3.0, 3.0]]]]), SINKHORN))
    (a, b), (c, d) = mixing[0, 0].tolist()
    after = module.write(X, torch.zeros(1, 1, 1), [torch.zeros(1, 1, 2), mixing])
    assert after.flatten().tolist() == pytest.approx([2 * a + 3 * c, 2 * b + 3 * d])


def test_sinkhorn_divides_by_columns_then_by_rows_and_columns() -> None:
    logits = torch.tensor([[[[0.0, 1.0], [0.0, 0.0]]]])
    softmax = [[1 / (1 + exp(1.0)) + 0.1, exp(1.0) / (1 + exp(1.0)) + 0.1], [0.6, 0.6]]

    def by_columns(rows: list[list[float]]) -> list[list[float]]:
        sums = [sum(column) + 0.1 for column in zip(*rows, strict=True)]
        return [[value / total for value, total in zip(row, sums, strict=True)] for row in rows]

    rows = by_columns(softmax)
    rows = by_columns([[value / (sum(row) + 0.1) for value in row] for row in rows])
    result = doubly_stochastic(logits, SINKHORN)[0, 0]
    assert [pytest.approx(row) for row in rows] == result.tolist()
    exact = doubly_stochastic(logits, words.SinkhornMixing(iterations=30, eps=0.0))[0, 0]
    torch.testing.assert_close(torch.stack([exact.sum(0), exact.sum(1)]), torch.ones(2, 2))


def test_streams_begin_as_the_embedding_and_end_as_their_sum_or_mean() -> None:
    weighted = words.HyperConnections(count=2, norm=NO_NORM, eps=0.5)
    begun = make_first_streams(weighted, 2, torch.float32)(torch.tensor([[[5.0, 7.0]]]))
    assert begun.flatten().tolist() == [5.0, 7.0, 5.0, 7.0]
    values = {"projection.weight": [[0.5, 0.0]] * 2, "scale": [2.0], "bias": [0.0, 1.0]}
    joined = filled(make_joined_streams(weighted, 1, torch.float32), values)
    assert isinstance(joined, WeightedStreams)
    assert joined(X).item() == pytest.approx((sigmoid(2.0) + 0.5) * 2 + (sigmoid(3.0) + 0.5) * 3)
    mean = weighted.model_copy(update={"output": "mean"})
    assert make_joined_streams(mean, 1, torch.float32)(X).item() == 2.5
