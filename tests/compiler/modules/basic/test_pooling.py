"""Pooling against numbers worked out by hand, of a row with padding next to one without."""

from __future__ import annotations

import pytest
import torch

from archc.archspec import vocabulary as words
from archc.compiler.modules.basic.pooling import Pooling, Rows, pool_tokens

# Two rows of four tokens of width 1; the first has two of padding, whose numbers must not count.
HIDDEN = torch.tensor([[[2.0], [-4.0], [90.0], [-90.0]], [[1.0], [3.0], [5.0], [-1.0]]])
IDS = torch.tensor([[7, 9, 9, 9], [9, 5, 9, 5]])
ROWS = Rows(torch.tensor([2, 4]), IDS)
EXPECTED = {
    "cls": [2.0, 1.0],
    "last": [-4.0, -1.0],
    "mean": [-1.0, 2.0],
    "max": [2.0, 5.0],
    # (1·2 + 2·(−4)) / 3, and (1·1 + 2·3 + 3·5 + 4·(−1)) / 10.
    "weighted": [-2.0, 1.8],
}


@pytest.mark.parametrize("kind", EXPECTED)
def test_pooling_of_tokens(kind: str) -> None:
    assert pool_tokens(kind, None, HIDDEN, ROWS)[:, 0].tolist() == pytest.approx(EXPECTED[kind])


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        pytest.param(9, [-4.0, 5.0], id="last occurrence, padding left out"),
        pytest.param(7, [2.0, -1.0], id="first token, and a row without the token"),
    ],
)
def test_pooling_by_the_end_token(token: int, expected: list[float]) -> None:
    assert pool_tokens("eos", token, HIDDEN, ROWS)[:, 0].tolist() == expected


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        pytest.param(9, [-4.0, 1.0], id="first occurrence"),
        pytest.param(5, [2.0, 3.0], id="a row without the token has its first token"),
    ],
)
def test_pooling_by_the_first_end_token(token: int, expected: list[float]) -> None:
    assert pool_tokens("eos", token, HIDDEN, ROWS, first=True)[:, 0].tolist() == expected


def test_pooling_by_the_highest_id() -> None:
    ids = torch.tensor([[0, 0, 9, 9], [5, 8, 7, 8]])
    assert pool_tokens("highest", None, HIDDEN, ROWS._replace(input_ids_BS=ids))[:, 0].tolist() == [2.0, 3.0]


def test_two_projections_and_a_normalization() -> None:
    dense = words.DenseProjection(
        width=1, activation="relu", bias=False, then=words.DenseLayer(width=2, bias=True, activation="none")
    )
    pooling = Pooling(words.LastPooler(dense=dense, normalize=True), 1, torch.float32)
    assert pooling.dense is not None
    assert pooling.dense.then is not None
    with torch.no_grad():
        pooling.dense.weight.copy_(torch.tensor([[-2.0]]))
        pooling.dense.then.weight.copy_(torch.tensor([[1.0], [0.5]]))
        pooling.dense.then.bias.copy_(torch.tensor([-2.0, 4.0]))
    # relu(−2·(−4)) = 8: (6, 8) / 10; relu(−2·(−1)) = 2: (0, 5) / 5.
    vectors = pooling(HIDDEN, ROWS).flatten().tolist()
    assert vectors == pytest.approx([0.6, 0.8, 0.0, 1.0])
