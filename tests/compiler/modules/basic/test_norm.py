"""Norms against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from archc.archspec import vocabulary as words
from archc.compiler.modules.basic.norm import GatedNorm, make_qk_norm


def test_a_weight_for_each_head() -> None:
    word = words.QkLayerNorm(eps=0.25, bias=False, weights="per-head")
    norm = make_qk_norm(word, heads=2, head_dim=2, dtype=torch.float32)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))  # type: ignore[operator, union-attr]
    # Both heads hold (1, 5): mean 3, variance 4, so ∓2 / sqrt(4.25).
    x_BHSD = torch.tensor([1.0, 5.0]).expand(1, 2, 1, 2)
    one = 2 / 4.25**0.5
    expected = [[[-one, 2 * one]], [[-3 * one, 4 * one]]]
    assert norm(x_BHSD)[0].flatten().tolist() == pytest.approx(torch.tensor(expected).flatten().tolist())


def test_a_root_mean_square_for_each_head() -> None:
    word = words.QkRmsNorm(eps=0.5, weights="per-head")
    norm = make_qk_norm(word, heads=2, head_dim=2, dtype=torch.float32)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))  # type: ignore[operator, union-attr]
    # (1, 5): mean square 13.
    one = 1 / 13.5**0.5
    expected = [one, 10 * one, 3 * one, 20 * one]
    assert norm(torch.tensor([1.0, 5.0]).expand(1, 2, 1, 2)).flatten().tolist() == pytest.approx(expected)


def test_weights_for_each_head_that_are_differences_from_one() -> None:
    word = words.QkRmsNorm(eps=0.5, unit_offset=True, weights="per-head")
    norm = make_qk_norm(word, heads=2, head_dim=2, dtype=torch.float32)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))  # type: ignore[operator, union-attr]
    one = 1 / 13.5**0.5
    expected = [2 * one, 15 * one, 4 * one, 25 * one]
    assert norm(torch.tensor([1.0, 5.0]).expand(1, 2, 1, 2)).flatten().tolist() == pytest.approx(expected)


def test_a_gate_reads_the_output_of_its_norm() -> None:
    norm = GatedNorm(torch.nn.Identity(), words.NormGate(rank=1), 2, torch.float32)
    norm.load_state_dict({"down.weight": torch.tensor([[1.0, -1.0]]), "up.weight": torch.tensor([[1.0], [-2.0]])})
    # 5 − 3 = 2, silu(2) = 2 · sigmoid(2).
    inner = 2 / (1 + math.exp(-2))
    expected = [5 / (1 + math.exp(-inner)), 3 / (1 + math.exp(2 * inner))]
    assert norm(torch.tensor([5.0, 3.0])).tolist() == pytest.approx(expected)
