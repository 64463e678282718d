"""Gates on the output of attention against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from archc.archspec import vocabulary as words
from archc.compiler.modules.attention.gate import Gate
from tests.compiler.modules.values import filled

SIGMOID, SOFTPLUS = {x: 1 / (1 + math.exp(-x)) for x in (1.0, 2.0)}, {x: math.log(1 + math.exp(x)) for x in (1.0, 2.0)}
Y_BHSD = torch.tensor([[[[1.0, 10.0]], [[100.0, 1000.0]]]])


def gated(over: str, activation: str, weight: list[list[float]]) -> list[float]:
    word = words.AttentionGate(over=over, activation=activation)
    gate = filled(Gate(word, 2, 2, 1, torch.float32), {"projection.weight": weight})
    result: list[float] = gate(torch.ones(1, 1, 1), Y_BHSD).flatten().tolist()
    return result


@pytest.mark.parametrize("activation", ["sigmoid", "softplus"])
def test_a_gate_for_each_head(activation: str) -> None:
    values = SIGMOID if activation == "sigmoid" else SOFTPLUS
    expected = [values[1.0], 10 * values[1.0], 100 * values[2.0], 1000 * values[2.0]]
    assert gated("heads", activation, [[1.0], [2.0]]) == pytest.approx(expected)


def test_a_gate_for_each_channel() -> None:
    expected = [SIGMOID[1.0], 10 * SIGMOID[2.0], 100 * SIGMOID[2.0], 1000 * SIGMOID[1.0]]
    assert gated("channels", "sigmoid", [[1.0], [2.0], [2.0], [1.0]]) == pytest.approx(expected)


def test_a_gate_with_a_bias_by_head() -> None:
    word = words.AttentionGate(head_bias=True)
    values = {"projection.weight": [[0.0], [1.0], [1.0], [0.0]], "head_bias": [1.0, 1.0]}
    gate = filled(Gate(word, 2, 2, 1, torch.float32), values)
    expected = [SIGMOID[1.0], 10 * SIGMOID[2.0], 100 * SIGMOID[2.0], 1000 * SIGMOID[1.0]]
    assert gate(torch.ones(1, 1, 1), Y_BHSD).flatten().tolist() == pytest.approx(expected)


def test_a_gate_with_a_bias() -> None:
    word = words.AttentionGate(over="heads", bias=True)
    values = {"projection.weight": [[0.0], [1.0]], "projection.bias": [1.0, 1.0]}
    gate = filled(Gate(word, 2, 2, 1, torch.float32), values)
    expected = [SIGMOID[1.0], 10 * SIGMOID[1.0], 100 * SIGMOID[2.0], 1000 * SIGMOID[2.0]]
    assert gate(torch.ones(1, 1, 1), Y_BHSD).flatten().tolist() == pytest.approx(expected)
