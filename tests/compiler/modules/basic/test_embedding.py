"""Embeddings against numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from archc.archspec import vocabulary as words
from archc.compiler.modules.basic.embedding import Embedding

# norm([4, 2]) with eps 1 is ([4, 2] − 3) / sqrt(1 + 1), where it stands before a projection to three dims.
HALF = 1 / 2**0.5
# The norm of (4, 2, 3), whose mean is 3 and whose variance is 2/3.
THREE = (2 / 3) ** -0.5


def embedding(projection: words.EmbeddingProjection, eps: float) -> Embedding:
    word = words.Embedding(
        vocab=2, width=3, table_width=2, projection=projection, norm=words.LayerNorm(eps=eps, bias=False)
    )
    made = Embedding(word, words.Learned(size=1), torch.float32)
    values = {
        "tokens.weight": [[0, 0], [3, 1]],
        "projection.weight": [[1, 0], [0, 1], [2, 0]],
        "projection.bias": [10, 20, 30],
        "positions.weight": [[1, 1, -3]],
        "norm.weight": [1, 1, 1],
    }
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            rows = torch.tensor(values[name]).float()
            parameter.copy_(rows[..., : parameter.shape[-1]])
    return made


@pytest.mark.parametrize(
    ("projection", "eps", "expected"),
    [
        (words.EmbeddingProjection(after="norm", bias=True), 1.0, [HALF + 10, -HALF + 20, 2 * HALF + 30]),
        (words.EmbeddingProjection(after="norm"), 1.0, [HALF, -HALF, 2 * HALF]),
        # (3, 1, 6) of the projection and (1, 1, −3) of the position are (4, 2, 3).
        (words.EmbeddingProjection(), 1e-9, [THREE, -THREE, 0.0]),
    ],
    ids=["after the norm, with bias", "after the norm", "before the norm"],
)
def test_a_projection_before_and_after_the_norm(
    projection: words.EmbeddingProjection, eps: float, expected: list[float]
) -> None:
    made = embedding(projection, eps)
    got = made(torch.tensor([[1]]), torch.tensor([[0]]), None)
    assert got[0, 0].tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("norm_of", "expected"),
    [
        # (4, 2) is the sum of (3, 1) and the position's (1, 1); the tokens alone have the same norm, and then (1, 1).
        pytest.param("sum", [HALF, -HALF], id="sum"),
        pytest.param("tokens", [HALF + 1, -HALF + 1], id="tokens"),
    ],
)
def test_a_norm_of_the_sum_and_of_the_tokens(norm_of: Any, expected: list[float]) -> None:
    word = words.Embedding(vocab=2, width=2, norm=words.LayerNorm(eps=1.0, bias=False), norm_of=norm_of)
    made = Embedding(word, words.Learned(size=1), torch.float32)
    values = {"tokens.weight": [[0.0, 0], [3, 1]], "positions.weight": [[1.0, 1]], "norm.weight": [1.0, 1]}
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            parameter.copy_(torch.tensor(values[name]))
    got = made(torch.tensor([[1]]), torch.tensor([[0]]), None)
    assert got[0, 0].tolist() == pytest.approx(expected)
