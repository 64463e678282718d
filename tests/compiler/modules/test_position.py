"""Position formulas against numbers worked out by hand or straight from the papers' formulas."""

from __future__ import annotations

import math

import pytest
import torch

from archc.archspec import vocabulary as words
from archc.compiler.modules.position import (
    AlibiBias,
    RotaryTables,
    Sinusoids,
    alibi_slopes,
    base_frequencies,
    llama3_frequencies,
    yarn_attention_factor,
    yarn_frequencies,
)


def tables(word: words.Rope, positions: list[int], head_dim: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    cos, sin = RotaryTables(word, head_dim, torch.float32)(torch.tensor([positions]))
    return cos[0], sin[0]


def test_base_frequencies() -> None:
    assert base_frequencies(100.0, 4).tolist() == pytest.approx([1.0, 0.1])
    assert base_frequencies(10000.0, 6).tolist() == pytest.approx([1.0, 10000 ** (-1 / 3), 10000 ** (-2 / 3)])


def test_angles_are_position_times_frequency() -> None:
    cos, sin = tables(words.Rope(theta=100.0), [0, 3])
    assert cos.tolist() == [[1.0, 1.0], pytest.approx([math.cos(3.0), math.cos(0.3)])]
    assert sin.tolist() == [[0.0, 0.0], pytest.approx([math.sin(3.0), math.sin(0.3)])]


def test_only_a_fraction_rotates() -> None:
    cos, _ = tables(words.Rope(theta=100.0, fraction=0.5), [1], head_dim=8)
    assert cos.tolist() == [pytest.approx([math.cos(1.0), math.cos(0.1)])]


def test_linear_scaling_divides_positions() -> None:
    scaled = tables(words.Rope(theta=100.0, scaling=words.LinearScaling(factor=4.0)), [8])
    plain = tables(words.Rope(theta=100.0), [2])
    assert torch.allclose(scaled[0], plain[0])


def test_dynamic_scaling_begins_past_the_trained_length() -> None:
    scaling = words.DynamicScaling(factor=2.0, original_max_position_embeddings=4)
    word = words.Rope(theta=100.0, scaling=scaling)
    assert torch.allclose(tables(word, [0, 1, 2, 3])[0], tables(words.Rope(theta=100.0), [0, 1, 2, 3])[0], atol=1e-6)
    # Length 8: the base is 100 · (2·8/4 − 1)^(4/2) = 900, so the second frequency is 900^(−1/2) = 1/30.
    cos, _ = tables(word, [5, 6, 7])
    assert cos[2].tolist() == pytest.approx([math.cos(7.0), math.cos(7 / 30)], abs=1e-6)


def test_dynamic_scaling_is_of_each_row() -> None:
    scaling = words.DynamicScaling(factor=2.0, original_max_position_embeddings=4)
    table = RotaryTables(words.Rope(theta=100.0, scaling=scaling), 4, torch.float32)
    together = table(torch.tensor([[1, 2], [6, 7]]))[0]
    assert torch.equal(together[0], table(torch.tensor([[1, 2]]))[0][0])
    assert torch.equal(together[1], table(torch.tensor([[6, 7]]))[0][0])


def test_llama3_keeps_short_waves_divides_long_ones_and_blends_between() -> None:
    scaling = words.Llama3Scaling(
        factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=100
    )
    # Wavelengths 20 (below 100/4), 50 (between: (100/50 − 1)/(4 − 1) = 1/3) and 200 (above 100/1).
    frequencies = torch.tensor([2 * math.pi / 20, 2 * math.pi / 50, 2 * math.pi / 200])
    kept, blended, divided = llama3_frequencies(frequencies, scaling).tolist()
    assert kept == pytest.approx(2 * math.pi / 20)
    assert blended == pytest.approx(2 * math.pi / 50 * (2 / 3 / 8 + 1 / 3))
    assert divided == pytest.approx(2 * math.pi / 200 / 8)


YARN = words.YarnScaling(factor=4.0, original_max_position_embeddings=64, beta_fast=4.0, beta_slow=1.0)


def test_yarn_ramps_between_the_dims_that_turn_fast_and_slow() -> None:
    # dim(n) = 16 · ln(64 / (2πn)) / (2 ln 100): 1.628 for 4 turns, 4.031 for 1, rounded out to 1 and 5.
    base = base_frequencies(100.0, 16)
    ramp = [0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    wanted = [f * (1 - r) + f / 4 * r for f, r in zip(base.tolist(), ramp, strict=True)]
    assert yarn_frequencies(base, 100.0, 16, YARN).tolist() == pytest.approx(wanted)


def test_yarn_without_rounding() -> None:
    base = base_frequencies(100.0, 16)
    low, high = (16 * math.log(64 / (2 * math.pi * turns)) / (2 * math.log(100)) for turns in (4.0, 1.0))
    ramp = [min(max((i - low) / (high - low), 0.0), 1.0) for i in range(8)]
    wanted = [f * (1 - r) + f / 4 * r for f, r in zip(base.tolist(), ramp, strict=True)]
    got = yarn_frequencies(base, 100.0, 16, YARN.model_copy(update={"truncate": False}))
    assert got.tolist() == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("changes", "factor"),
    [
        ({}, 0.1 * math.log(4) + 1),
        ({"attention_factor": 0.7}, 0.7),
        ({"mscale": 2.0, "mscale_all_dim": 0.5}, (0.2 * math.log(4) + 1) / (0.05 * math.log(4) + 1)),
        ({"mscale": 2.0}, 0.1 * math.log(4) + 1),
        ({"factor": 1.0}, 1.0),
    ],
)
def test_yarn_attention_factor(changes: dict[str, float], factor: float) -> None:
    assert yarn_attention_factor(YARN.model_copy(update=changes)) == pytest.approx(factor)


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


def test_alibi_bias_in_bfloat16() -> None:
    mask = torch.ones(1, 1, 1, 300, dtype=torch.bool)
    bias = AlibiBias(words.Alibi(rounding="bfloat16"), 12, torch.float32)(mask)
    assert torch.equal(bias, bias.to(torch.bfloat16).float())
    assert bias[0, 0, 0, 257] == 128.0  # position 257 is not a bfloat16 number: it becomes 256


def test_sinusoids_are_of_position_over_wavelength() -> None:
    positions = torch.tensor([[0, 3]])
    pairs = [math.sin(3.0), math.cos(3.0), math.sin(0.3), math.cos(0.3)]
    found = Sinusoids(words.Sinusoidal(theta=100.0), 4, torch.float32)(positions)[0]
    assert found.tolist() == [[0, 1, 0, 1], pytest.approx(pairs)]
    halves = Sinusoids(words.Sinusoidal(theta=100.0, layout="halves"), 4, torch.float32)(positions)[0]
    assert halves[1].tolist() == pytest.approx([pairs[0], pairs[2], pairs[1], pairs[3]])
    assert Sinusoids(words.Sinusoidal(), 4, torch.float32)(positions)[0, 1, 2].item() == pytest.approx(math.sin(0.03))
