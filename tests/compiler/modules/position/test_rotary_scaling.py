"""Scaled rotary frequencies against numbers worked out by hand from the papers' formulas."""

from __future__ import annotations

import math

import pytest
import torch

from archc.archspec import vocabulary as words
from archc.compiler.modules.position.rotary_scaling import (
    base_frequencies,
    llama3_frequencies,
    longrope_attention_factor,
    scaled_frequencies,
    yarn_attention_factor,
    yarn_frequencies,
)


def test_base_frequencies() -> None:
    assert base_frequencies(100.0, 4).tolist() == pytest.approx([1.0, 0.1])
    assert base_frequencies(10000.0, 6).tolist() == pytest.approx([1.0, 10000 ** (-1 / 3), 10000 ** (-2 / 3)])


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


def test_proportional_frequencies_are_those_of_the_whole_head_with_zeros_beyond_the_fraction() -> None:
    word = words.Rope(theta=100.0, fraction=0.5, scaling=words.ProportionalScaling(factor=4.0))
    frequencies, factor = scaled_frequencies(word, 8)
    # 100^(−2i/8) / 4 for the pairs 0 and 1 of four; rotating four dims alone, the second would be 100^(−1/2) / 4.
    assert frequencies.tolist() == pytest.approx([0.25, 100 ** (-1 / 4) / 4, 0.0, 0.0])
    assert factor == 1.0


YARN = words.YarnScaling(factor=4.0, original_max_position_embeddings=64, beta_fast=4.0, beta_slow=1.0)


def test_yarn_ramps_between_the_dims_that_turn_fast_and_slow() -> None:
    # dim(n) = 16 · ln(64 / (2πn)) / (2 ln 100): 1.628 for 4 turns, 4.031 for 1, rounded out to 1 and 5.
    base = base_frequencies(100.0, 16)
    ramp = [0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    expected = [f * (1 - r) + f / 4 * r for f, r in zip(base.tolist(), ramp, strict=True)]
    assert yarn_frequencies(base, 100.0, 16, YARN).tolist() == pytest.approx(expected)


def test_yarn_without_rounding() -> None:
    base = base_frequencies(100.0, 16)
    low, high = (16 * math.log(64 / (2 * math.pi * turns)) / (2 * math.log(100)) for turns in (4.0, 1.0))
    ramp = [min(max((i - low) / (high - low), 0.0), 1.0) for i in range(8)]
    expected = [f * (1 - r) + f / 4 * r for f, r in zip(base.tolist(), ramp, strict=True)]
    actual = yarn_frequencies(base, 100.0, 16, YARN.model_copy(update={"truncate": False}))
    assert actual.tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("changes", "factor"),
    [
        pytest.param({}, 0.1 * math.log(4) + 1, id="of the factor"),
        pytest.param({"attention_factor": 0.7}, 0.7, id="given"),
        pytest.param(
            {"mscale": 2.0, "mscale_all_dim": 0.5},
            (0.2 * math.log(4) + 1) / (0.05 * math.log(4) + 1),
            id="the ratio of two mscales",
        ),
        pytest.param({"mscale": 2.0}, 0.1 * math.log(4) + 1, id="one mscale alone"),
        pytest.param({"factor": 1.0}, 1.0, id="a factor of one"),
    ],
)
def test_yarn_attention_factor(changes: dict[str, float], factor: float) -> None:
    assert yarn_attention_factor(YARN.model_copy(update=changes)) == pytest.approx(factor)


LONGROPE = words.LongRopeScaling(
    long_factor=(2.0, 4.0), short_factor=(1.0, 1.5), factor=16.0, original_max_position_embeddings=256
)


@pytest.mark.parametrize(
    ("changes", "factor"),
    [
        # ln 16 / ln 256 is one half.
        pytest.param({}, math.sqrt(1.5), id="of the factor"),
        pytest.param({"attention_factor": 0.7}, 0.7, id="given"),
        pytest.param({"attention_factor": 0.7, "factor": None}, 0.7, id="given without a factor"),
        pytest.param({"factor": 1.0}, 1.0, id="a factor of one"),
        pytest.param({"factor": 0.5}, 1.0, id="a factor below one"),
    ],
)
def test_longrope_attention_factor(changes: dict[str, float], factor: float) -> None:
    assert longrope_attention_factor(LONGROPE.model_copy(update=changes)) == pytest.approx(factor)
