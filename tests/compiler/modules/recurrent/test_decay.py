"""Decays of a matrix state against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from archc.archspec import vocabulary as words
from archc.compiler.modules.recurrent.matrix_state import make_decay
from tests.compiler.modules.values import filled

# exp(log) is 2 and 3; the projection of an input of one is 1 and 2, and 3 and 0 with the bias.
VALUES = {"log": [math.log(2), math.log(3)], "step.weight": [[1.0], [2.0]], "bias": [2.0, -2.0]}
Decay = words.StepDecay | words.BoundedDecay | words.FixedDecay


def decays(decay: Decay, values: dict[str, list[float] | list[list[float]]]) -> tuple[list[float], list[float] | None]:
    """Log decays and step sizes of one token whose input is one."""
    word = words.MatrixState(heads=2, key_dim=1, value_dim=1, decay=decay)
    module = filled(make_decay(word, 1, torch.float32), values)
    log_decay, step = module(torch.ones(1, 1, 1))
    return log_decay.flatten().tolist(), None if step is None else step.flatten().tolist()


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_step_sizes_scale_the_values_too() -> None:
    log_decay, step = decays(words.StepDecay(scales_values=True), VALUES)
    assert log_decay == pytest.approx([-2 * softplus(3), -3 * softplus(0)])
    assert step == pytest.approx([softplus(3), softplus(0)])


def test_step_sizes_within_limits() -> None:
    log_decay, step = decays(words.StepDecay(least=1.0, most=2.5), VALUES)
    assert log_decay == pytest.approx([-2 * 2.5, -3 * 1.0])
    assert step is None


def test_a_decay_by_channel() -> None:
    assert decays(words.StepDecay(over="channels"), VALUES) == decays(words.StepDecay(), VALUES)


def test_a_bounded_decay() -> None:
    log_decay, _ = decays(words.BoundedDecay(bound=5.0), VALUES)
    assert log_decay == pytest.approx([-5 / (1 + math.exp(-6)), -5 / 2])


def test_fixed_decays_are_the_slopes_of_alibi() -> None:
    assert decays(words.FixedDecay(factor=0.5), {})[0] == pytest.approx([-0.5 / 16, -0.5 / 256])
