"""Heads against numbers worked out by hand."""

from __future__ import annotations

from math import tanh
from typing import Literal

import pytest
import torch

from archc.archspec import vocabulary as words
from archc.compiler.modules.basic.head import ClassesHead, LmHead, MlmHead, VectorHead
from archc.compiler.modules.basic.pooling import Rows
from tests.compiler.modules.values import filled

EMBEDDING = words.Embedding(vocab=3, width=2)


def head(**options: bool) -> MlmHead:
    word = words.MlmHead(activation="relu", norm=words.NoNorm(), **options)
    made = MlmHead(word, EMBEDDING, torch.nn.Parameter(torch.tensor([[1.0, 0], [0, 1], [1, 1]])), torch.float32)
    with torch.no_grad():
        made.dense.weight.copy_(torch.tensor([[2.0, 0], [0, 3]]))
        for bias, value in ((made.dense.bias, [1.0, 10]), (made.bias, [0.5, 0.25, 0])):
            if bias is not None:
                bias.copy_(torch.tensor(value))
    return made


@pytest.mark.parametrize(
    ("options", "logits"),
    [
        # relu(2·1 + 1, 3·(−2) + 10) = (3, 4), and (2, 0) without that bias.
        pytest.param({}, [3.5, 4.25, 7.0], id="both"),
        pytest.param({"dense_bias": False}, [2.5, 0.25, 2.0], id="no dense bias"),
        pytest.param({"bias": False}, [3.0, 4.0, 7.0], id="no bias"),
        pytest.param({"dense_bias": False, "bias": False}, [2.0, 0.0, 2.0], id="none"),
    ],
)
def test_biases_of_a_masked_language_model_head(options: dict[str, bool], logits: list[float]) -> None:
    assert head(**options)(torch.tensor([[[1.0, -2.0]]]))[0, 0].tolist() == pytest.approx(logits)


def test_a_masked_language_model_head_goes_back_to_the_width_of_the_table() -> None:
    word = words.MlmHead(activation="relu", norm=words.NoNorm(), bias=False, dense_bias=False)
    table = torch.nn.Parameter(torch.tensor([[1.0], [2.0], [-1.0]]))
    made = MlmHead(word, words.Embedding(vocab=3, width=2, table_width=1), table, torch.float32)
    with torch.no_grad():
        made.dense.weight.copy_(torch.tensor([[3.0, 1.0]]))
    # relu(3·2 + 1·(−1)) = 5.
    assert made(torch.tensor([[[2.0, -1.0]]]))[0, 0].tolist() == [5.0, 10.0, -5.0]


def test_logits_are_scaled_before_they_are_capped() -> None:
    word, table = words.LmHead(tie=True, scale=0.5, softcap=2.0), torch.nn.Parameter(torch.tensor([[4.0], [-8.0]]))
    head = LmHead(word, words.Embedding(vocab=2, width=1), table, torch.float32)
    # 0.5 · 4 / 2 = 1, and 0.5 · (−8) / 2 = −2.
    expected = [2 * tanh(1.0), 2 * tanh(-2.0)]
    assert head(torch.tensor([[[1.0]]]))[0, 0].tolist() == pytest.approx(expected)


def test_tokens_without_a_row_of_the_projection_are_never_predicted() -> None:
    word, table = words.LmHead(vocab=2, scale=0.5, softcap=2.0), torch.nn.Parameter(torch.ones(5, 1))
    head = LmHead(word, words.Embedding(vocab=5, width=1), table, torch.float32)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[4.0], [-8.0]]))
    expected = [2 * tanh(1.0), 2 * tanh(-2.0), -8192, -8192, -8192]
    assert head(torch.ones(2, 3, 1))[1, 2].tolist() == pytest.approx(expected)


@pytest.mark.parametrize(("order", "expected"), [("before", 0.0), ("after", 1.5)])
def test_classes_are_pooled_before_or_after_the_dense_layer(order: Literal["before", "after"], expected: float) -> None:
    dense = words.DenseLayer(width=1, activation="relu", bias=False)
    made = ClassesHead(words.ClassesHead(labels=1, pool="mean", order=order, dense=dense, bias=False), 1, torch.float32)
    filled(made, {"dense.weight": [[1.0]], "weight": [[1.0]]})
    # relu of the mean of 3 and −5, or the mean of 3 and 0; the third token is padding.
    scores = made(torch.tensor([[[3.0], [-5.0], [7.0]]]), Rows(lengths_B=torch.tensor([2])))
    assert scores.tolist() == [[expected]]


def test_an_inner_dense_layer_has_the_activation_too() -> None:
    word = words.MlmHead(activation="relu", norm=words.NoNorm(), bias=False, dense_bias=False, inner_width=1)
    table = torch.nn.Parameter(torch.tensor([[1.0, 0], [0, 1], [1, 1]]))
    made = MlmHead(word, EMBEDDING, table, torch.float32)
    assert made.inner is not None
    with torch.no_grad():
        made.inner.weight.copy_(torch.tensor([[1.0, -1.0]]))
        made.dense.weight.copy_(torch.tensor([[2.0], [-1.0]]))
    # relu(1 + 2) = 3, then relu(6, −3); relu(−2 − 1) = 0.
    logits = made(torch.tensor([[[1.0, -2.0], [-2.0, 1.0]]]))
    assert logits[0].tolist() == [[6.0, 0.0, 6.0], [0.0, 0.0, 0.0]]


def test_vectors_of_tokens_are_projections() -> None:
    made = VectorHead(words.VectorHead(width=1, bias=True), 2, torch.float32)
    assert made.bias is not None
    with torch.no_grad():
        made.weight.copy_(torch.tensor([[2.0, 3.0]]))
        made.bias.fill_(0.5)
    assert made(torch.tensor([[[1.0, -1.0], [0.0, 1.0]]]))[0, :, 0].tolist() == [-0.5, 3.5]
