"""Position signals that are computed once a call and shared by the layers: rotary tables and ALiBi biases.

Shape suffixes as in `compiler.operators`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from archspec import vocabulary as words


def rotary_dim(word: words.Rope, head_dim: int) -> int:
    """How many dims of a head rotate."""
    return int(head_dim * word.fraction)


def base_frequencies(theta: float, dim: int) -> Tensor:
    """theta^(−2i/dim) for i < dim/2, float32 [dim/2] (Su et al. 2021, section 3.2.2)."""
    return 1.0 / (theta ** (torch.arange(0, dim, 2, dtype=torch.float32, device="cpu") / dim))


def llama3_frequencies(frequencies: Tensor, scaling: words.Llama3Scaling) -> Tensor:
    """Long wavelengths divided by the factor, short ones kept, a linear blend between (Llama 3.1)."""
    original = scaling.original_max_position_embeddings
    wavelengths = 2 * math.pi / frequencies
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    kept = ((original / wavelengths - low) / (high - low)).clamp(0.0, 1.0)
    return (1 - kept) * frequencies / scaling.factor + kept * frequencies


def yarn_frequencies(frequencies: Tensor, theta: float, dim: int, scaling: words.YarnScaling) -> Tensor:
    """Slow dims interpolated, fast dims kept, a ramp between (Peng et al. 2023, section 3.2)."""

    def turning_dim(rotations: float) -> float:
        original = scaling.original_max_position_embeddings
        return dim * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(theta))

    low, high = turning_dim(scaling.beta_fast), turning_dim(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    if low == high:
        high += 0.001  # A step, without dividing by zero.
    ramp = ((torch.arange(dim // 2, dtype=torch.float32, device="cpu") - low) / (high - low)).clamp(0.0, 1.0)
    return frequencies / scaling.factor * ramp + frequencies * (1 - ramp)


def yarn_attention_factor(scaling: words.YarnScaling) -> float:
    """The factor on cos and sin: 0.1 · ln(factor) + 1, or the ratio that mscale asks for (Peng et al. 2023, eq. 22)."""

    def temper(scale: float) -> float:
        return 0.1 * scale * math.log(scaling.factor) + 1.0 if scaling.factor > 1 else 1.0

    if scaling.attention_factor is not None:
        return scaling.attention_factor
    if scaling.mscale is not None and scaling.mscale_all_dim is not None:
        return temper(scaling.mscale) / temper(scaling.mscale_all_dim)
    return temper(1.0)


class RotaryTables(nn.Module):
    """cos and sin of every position's rotation angles, computed in float32."""

    def __init__(self, word: words.Rope, head_dim: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.word, self.dim, self.dtype = word, rotary_dim(word, head_dim), dtype
        self.factor = 1.0
        frequencies = base_frequencies(word.theta, self.dim)
        match word.scaling:
            case words.LinearScaling(factor=factor):
                frequencies = frequencies / factor
            case words.Llama3Scaling() as scaling:
                frequencies = llama3_frequencies(frequencies, scaling)
            case words.YarnScaling() as scaling:
                frequencies = yarn_frequencies(frequencies, word.theta, self.dim, scaling)
                self.factor = yarn_attention_factor(scaling)
            case words.DynamicScaling() | words.NoScaling():
                pass  # Dynamic frequencies depend on the call's length: see `dynamic_frequencies`.
        # A Python list, so that the numbers survive tracing on the meta device.
        self.frequencies: list[float] = frequencies.tolist()

    def dynamic_frequencies(self, position_ids_BS: Tensor, scaling: words.DynamicScaling) -> Tensor:
        """NTK-aware frequencies of each row, for the length that its positions reach: float32 [B, 1, R]."""
        trained, factor = scaling.original_max_position_embeddings, scaling.factor
        length_B1 = position_ids_BS.amax(dim=1, keepdim=True).float() + 1.0
        stretch_B1 = (factor * length_B1 / trained - (factor - 1.0)).clamp(min=1.0)
        log_theta_B1 = math.log(self.word.theta) + stretch_B1.log() * (self.dim / (self.dim - 2))
        exponents_R = torch.arange(0, self.dim, 2, dtype=torch.float32, device=position_ids_BS.device) / self.dim
        return (-log_theta_B1[:, :, None] * exponents_R).exp()

    def forward(self, position_ids_BS: Tensor) -> tuple[Tensor, Tensor]:
        """Positions [B, S] → cos, sin [B, S, R] in the model's dtype."""
        if isinstance(self.word.scaling, words.DynamicScaling):
            frequencies = self.dynamic_frequencies(position_ids_BS, self.word.scaling)
        else:
            frequencies = torch.tensor(self.frequencies, dtype=torch.float32, device=position_ids_BS.device)
        angles_BSR = position_ids_BS[:, :, None].float() * frequencies
        return (angles_BSR.cos() * self.factor).to(self.dtype), (angles_BSR.sin() * self.factor).to(self.dtype)


def alibi_slopes(heads: int) -> list[float]:
    """2^(−8i/n) for i = 1 … n where n is a power of two; other counts add every second slope of the next power
    (Press et al. 2022, section 3, and the authors' released code for the other counts)."""

    def series(count: int) -> list[float]:
        return [2.0 ** (-8.0 * i / count) for i in range(1, count + 1)]

    power = 2 ** math.floor(math.log2(heads))
    return series(power) + series(2 * power)[0::2][: heads - power]


class AlibiBias(nn.Module):
    """slope(head) · key position; softmax does not see the constant that would make it relative to the query."""

    def __init__(self, word: words.Alibi, heads: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.word, self.dtype = word, dtype
        self.slopes = alibi_slopes(heads)

    def forward(self, mask_B1ST: Tensor) -> Tensor:
        """A mask, for its last size T → bias [1, H, 1, T] in the model's dtype."""
        device = mask_B1ST.device
        slopes_H11 = torch.tensor(self.slopes, dtype=torch.float32, device=device)[:, None, None]
        positions_T = torch.arange(mask_B1ST.shape[-1], device=device).float()
        if self.word.rounding == "bfloat16":
            slopes_H11, positions_T = (x.to(torch.bfloat16).float() for x in (slopes_H11, positions_T))
            return (slopes_H11 * positions_T).to(torch.bfloat16).to(self.dtype)[None]
        return (slopes_H11 * positions_T).to(self.dtype)[None]
