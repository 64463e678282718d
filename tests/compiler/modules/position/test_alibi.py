"""ALiBi's slopes and biases against numbers worked out by hand."""

from __future__ import annotations

import torch

from archc.archspec import vocabulary as words
from archc.compiler.modules.position.alibi import AlibiBias, alibi_slopes


def test_alibi_slopes_of_a_power_of_two() -> None:
    assert alibi_slopes(8) == [2.0**-i for i in range(1, 9)]
    assert alibi_slopes(1) == [2.0**-8]


def test_alibi_slopes_of_other_counts() -> None:
    # Those of 4 heads, then every second one of those of 8.
    assert alibi_slopes(6) == [2.0**-2, 2.0**-4, 2.0**-6, 2.0**-8, 2.0**-1, 2.0**-3]
    assert alibi_slopes(12) == [2.0**-i for i in range(1, 9)] + [2.0 ** -(i + 0.5) for i in range(4)]


def test_alibi_bias_grows_with_the_key_position() -> None:
    bias = AlibiBias(words.Alibi(), 2, torch.float32)(torch.ones(3, 1, 2, 5, dtype=torch.bool))
    assert bias.shape == (1, 2, 1, 5)
    assert bias[0, :, 0].tolist() == [[i / 16 for i in range(5)], [i / 256 for i in range(5)]]


def test_alibi_bias_on_both_sides_falls_with_the_distance() -> None:
    mask = torch.ones(3, 1, 3, 3, dtype=torch.bool)
    bias = AlibiBias(words.Alibi(), 2, torch.float32, both_sides=True)(mask)
    distances = torch.tensor([[0, 1, 2], [1, 0, 1], [2, 1, 0]])
    assert bias.shape == (1, 2, 3, 3)
    assert torch.equal(bias[0], torch.stack((-distances / 16, -distances / 256)))


def test_alibi_bias_in_bfloat16() -> None:
    mask = torch.ones(1, 1, 1, 300, dtype=torch.bool)
    bias = AlibiBias(words.Alibi(rounding="bfloat16"), 12, torch.float32)(mask)
    assert torch.equal(bias, bias.to(torch.bfloat16).float())
    assert bias[0, 0, 0, 257] == 128.0  # position 257 is not a bfloat16 number: it becomes 256
