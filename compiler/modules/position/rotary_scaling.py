"""Scaled inverse frequencies of rotary embeddings for contexts longer than the trained one."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from archc.archspec import vocabulary as words


def base_frequencies(theta: float, dim: int, count: int | None = None) -> Tensor:
    """Return theta^(−2i/dim) for i < count, by default dim/2, float32 [count] (Su et al. 2021, section 3.2.2)."""
    steps = torch.arange(0, dim if count is None else 2 * count, 2, dtype=torch.float32, device="cpu")
    return 1.0 / (theta ** (steps / dim))


def scaled_frequencies(word: words.Rope, dim: int) -> tuple[Tensor, float]:
    """Return the inverse frequencies of a rope word, float32 [dim/2], and the factor on its cos and sin.

    Scalings that depend on the length of a sequence are applied in each call, to the base frequencies.
    """
    frequencies = base_frequencies(word.theta, dim)
    match word.scaling:
        case words.LinearScaling(factor=factor):
            return frequencies / factor, 1.0
        case words.ProportionalScaling(factor=factor):
            # `dim` is the whole head; what is beyond the rotated fraction has the frequency 0.
            is_rotated = torch.arange(dim // 2, device="cpu") < int(word.fraction * dim // 2)
            return frequencies * is_rotated / factor, 1.0
        case words.Llama3Scaling() as scaling:
            return llama3_frequencies(frequencies, scaling), 1.0
        case words.YarnScaling() as scaling:
            return yarn_frequencies(frequencies, word.theta, dim, scaling), yarn_attention_factor(scaling)
        case words.LongRopeScaling() as scaling:
            return frequencies, longrope_attention_factor(scaling)
        case words.DynamicScaling() | words.PromptNtkScaling() | words.NoScaling():
            return frequencies, 1.0


def llama3_frequencies(frequencies: Tensor, scaling: words.Llama3Scaling) -> Tensor:
    """Divide long wavelengths by the factor, keep short ones, blend linearly between (Dubey et al. 2024)."""
    original = scaling.original_max_position_embeddings
    wavelengths = 2 * math.pi / frequencies
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    unscaled = ((original / wavelengths - low) / (high - low)).clamp(0.0, 1.0)
    return (1 - unscaled) * frequencies / scaling.factor + unscaled * frequencies


def yarn_frequencies(frequencies: Tensor, theta: float, dim: int, scaling: words.YarnScaling) -> Tensor:
    """Interpolate low frequencies, keep high ones, with a linear ramp between (Peng et al. 2023, section 3.2)."""

    def dim_of_rotations(rotations: float) -> float:
        original = scaling.original_max_position_embeddings
        return dim * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(theta))

    low, high = dim_of_rotations(scaling.beta_fast), dim_of_rotations(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    if low == high:
        high += 0.001  # a step, without a division by zero
    ramp = ((torch.arange(dim // 2, dtype=torch.float32, device="cpu") - low) / (high - low)).clamp(0.0, 1.0)
    return frequencies / scaling.factor * ramp + frequencies * (1 - ramp)


def yarn_attention_factor(scaling: words.YarnScaling) -> float:
    """Return the factor on cos and sin: 0.1 · ln(factor) + 1 (Peng et al. 2023, eq. 22), or the ratio of mscales."""

    def temperature(scale: float) -> float:
        return 0.1 * scale * math.log(scaling.factor) + 1.0 if scaling.factor > 1 else 1.0

    if scaling.attention_factor is not None:
        return scaling.attention_factor
    if scaling.mscale is not None and scaling.mscale_all_dim is not None:
        return temperature(scaling.mscale) / temperature(scaling.mscale_all_dim)
    return temperature(1.0)


def longrope_attention_factor(scaling: words.LongRopeScaling) -> float:
    """Return the factor on cos and sin: sqrt(1 + ln(factor) / ln(trained length)) (Ding et al. 2024, section 3.2)."""
    if scaling.attention_factor is not None:
        return scaling.attention_factor
    if scaling.factor is None or scaling.factor <= 1:
        return 1.0
    return math.sqrt(1 + math.log(scaling.factor) / math.log(scaling.original_max_position_embeddings))
