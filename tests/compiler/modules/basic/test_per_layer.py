"""Per-layer embeddings against numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch

from archc.archspec import vocabulary as words
from archc.compiler.modules.basic.per_layer import EmbeddingBranch, PerLayerEmbedding
from tests.compiler.modules.values import column, filled

NORM = words.RmsNorm(eps=1e-9)


def vectors(word: words.PerLayerEmbedding, parameters: dict[str, list[object]]) -> list[list[float]]:
    """The vectors of two layers for the token 1, whose embedding is 2."""
    module = filled(PerLayerEmbedding(word, 2, words.Embedding(vocab=2, width=1), torch.float32), parameters)
    return [vector.flatten().tolist() for vector in module(torch.tensor([[1]]), column(2.0))]


def test_each_layer_has_its_part_of_the_table_and_of_the_normed_projection() -> None:
    word = words.PerLayerEmbedding(vocab=2, width=2, scale=10.0, projection_scale=0.5, norm=NORM, sum_scale=0.5)
    table, weight = [[0, 0, 0, 0], [1, 2, 3, 4]], [[1], [-1], [7], [7]]
    # Parts of the projection: (1, −1) and (7, 7), whose mean squares are 1 and 49; then the norm's weight (1, 3).
    first, second = vectors(word, {"tokens.weight": table, "projection.weight": weight, "norm.weight": [1, 3]})
    assert first == pytest.approx([(1 + 10) / 2, (-3 + 20) / 2])
    assert second == pytest.approx([(1 + 30) / 2, (3 + 40) / 2])


def test_the_projection_is_scaled_before_the_norm() -> None:
    word = words.PerLayerEmbedding(width=1, projection_scale=0.5, norm=words.RmsNorm(eps=3.0))
    # 0.5 · 2 · 1 = 1 and 0.5 · 2 · 6 = 6; 1 / sqrt(1 + 3) and 6 / sqrt(36 + 3).
    first, second = vectors(word, {"projection.weight": [[1], [6]], "norm.weight": [1]})
    assert (*first, *second) == pytest.approx((0.5, 6 / 39**0.5))


def test_the_branch_gates_the_vector() -> None:
    word = words.EmbeddingBranch(activation="relu", norm=words.NoNorm())
    branch = filled(
        EmbeddingBranch(word, 2, 1, torch.float32), {"gate.weight": [[3], [-1]], "output.weight": [[10, 100]]}
    )
    # relu(3 · 2) · 5 · 10, and nothing of the second channel, whose gate is negative.
    assert branch(column(2.0), torch.tensor([[[5.0, 7.0]]])).item() == pytest.approx(300.0)
