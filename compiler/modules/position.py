"""Position signals that are computed once a call and shared by the layers: rotary tables and ALiBi biases.

Shape suffixes as in `archc.compiler.ops.operators`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words


def rotary_dim(word: words.Rope, head_dim: int) -> int:
    """How many dims of a head rotate."""
    return word.dim if word.dim is not None else int(head_dim * word.fraction)


def base_frequencies(theta: float, dim: int) -> Tensor:
    """theta^(−2i/dim) for i < dim/2, float32 [dim/2] (Su et al. 2021, section 3.2.2)."""
    return 1.0 / (theta ** (torch.arange(0, dim, 2, dtype=torch.float32, device="cpu") / dim))


def llama3_frequencies(frequencies: Tensor, scaling: words.Llama3Scaling) -> Tensor:
    """Long wavelengths divided by the factor, short ones kept, a linear blend between (Dubey et al. 2024)."""
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


def longrope_attention_factor(scaling: words.LongRopeScaling) -> float:
    """The factor on cos and sin: sqrt(1 + ln(factor) / ln(trained length)) (Ding et al. 2024, section 3.2)."""
    if scaling.attention_factor is not None:
        return scaling.attention_factor
    if scaling.factor is None or scaling.factor <= 1:
        return 1.0
    return math.sqrt(1 + math.log(scaling.factor) / math.log(scaling.original_max_position_embeddings))


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
            case words.LongRopeScaling() as scaling:
                self.factor = longrope_attention_factor(scaling)
            case words.DynamicScaling() | words.PromptNtkScaling() | words.NoScaling():
                pass
        # A Python list, so that the numbers survive tracing on the meta device.
        self.frequencies: list[float] = frequencies.tolist()

    def call_frequencies(self, position_ids_BS: Tensor) -> Tensor:
        """Frequencies for this call, float32: [R], or [B, 1, R] where they depend on the length of a row."""
        match self.word.scaling:
            case words.DynamicScaling() as scaling:
                return self.dynamic_frequencies(position_ids_BS, scaling)
            case words.LongRopeScaling() as scaling:
                return self.longrope_frequencies(position_ids_BS, scaling)
        return torch.tensor(self.frequencies, dtype=torch.float32).to(position_ids_BS.device)

    def longrope_frequencies(self, position_ids_BS: Tensor, scaling: words.LongRopeScaling) -> Tensor:
        """Frequencies over the long factors for rows that reach past the trained length, else over the short ones."""
        device = position_ids_BS.device
        plain, long, short = (
            torch.tensor(numbers, dtype=torch.float32).to(device)
            for numbers in (self.frequencies, scaling.long_factor, scaling.short_factor)
        )
        outgrown_B1 = position_ids_BS.amax(dim=1, keepdim=True) >= scaling.original_max_position_embeddings
        return torch.where(outgrown_B1[:, :, None], plain / long, plain / short)

    def dynamic_frequencies(self, position_ids_BS: Tensor, scaling: words.DynamicScaling) -> Tensor:
        """NTK-aware frequencies of each row, for the length that its positions reach: float32 [B, 1, R]."""
        trained, factor = scaling.original_max_position_embeddings, scaling.factor
        length_B1 = position_ids_BS.amax(dim=1, keepdim=True).float() + 1.0
        return self.stretched((factor * length_B1 / trained - (factor - 1.0)).clamp(min=1.0))

    def stretched(self, stretch_B1: Tensor) -> Tensor:
        """Frequencies of the base theta · stretch^(d/(d−2)): float32 [B, 1, R]."""
        log_theta_B1 = math.log(self.word.theta) + stretch_B1.log() * (self.dim / (self.dim - 2))
        exponents_R = torch.arange(0, self.dim, 2, dtype=torch.float32, device=stretch_B1.device) / self.dim
        return (-log_theta_B1[:, :, None] * exponents_R).exp()

    @property
    def keeps_stretch(self) -> bool:
        """Whether the base's stretch is state: chosen by a sequence's first call, and kept."""
        return isinstance(self.word.scaling, words.PromptNtkScaling)

    def prompt_stretch(self, position_ids_BS: Tensor, kept_B1: Tensor | None, write_indices_B: Tensor | None) -> Tensor:
        """A row's stretch, float32 [B, 1]: by its length where it begins in this call, else what it was."""
        assert isinstance(self.word.scaling, words.PromptNtkScaling)
        length_B1 = position_ids_BS.amax(dim=1, keepdim=True).float() + 1.0
        doublings_B1 = ((length_B1 / self.word.scaling.trained).log2() + 1.0).ceil()
        stretch_B1 = (torch.pow(2.0, doublings_B1) - 1.0).clamp(min=1.0)
        if kept_B1 is None or write_indices_B is None:
            return stretch_B1
        return torch.where(write_indices_B[:, None] == 0, stretch_B1, kept_B1)

    def forward(self, position_ids_BS: Tensor, stretch_B1: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Positions [B, S], and the stretch of a base that keeps one → cos, sin [B, S, R] in the model's dtype."""
        frequencies = self.call_frequencies(position_ids_BS) if stretch_B1 is None else self.stretched(stretch_B1)
        angles_BSR = position_ids_BS[:, :, None].float() * frequencies
        return (angles_BSR.cos() * self.factor).to(self.dtype), (angles_BSR.sin() * self.factor).to(self.dtype)


class BlockRotaryTables(nn.Module):
    """cos and sin for each half of a head: one of places in the text, one of places in the written block."""

    def __init__(self, word: words.BlockRope, head_dim: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        frequencies = base_frequencies(word.theta, head_dim // 2)
        if word.rounding == "float16":
            frequencies = frequencies.half().float()
        self.frequencies: list[float] = frequencies.tolist()

    def forward(self, positions_B2S: Tensor) -> tuple[Tensor, Tensor]:
        """Places in the text and in the block [B, 2, S] → cos, sin [B, 2, S, D/4] in the model's dtype."""
        frequencies = torch.tensor(self.frequencies, dtype=torch.float32).to(positions_B2S.device)
        angles_B2SR = positions_B2S[..., None].float() * frequencies
        return angles_B2SR.cos().to(self.dtype), angles_B2SR.sin().to(self.dtype)


def alibi_slopes(heads: int, max_bias: float = 8.0, slopes: str = "interleaved") -> list[float]:
    """2^(−max_bias·i/n) for i = 1 … n where n is a power of two (Press et al. 2022, section 3).

    For other counts, the two ways that checkpoints know are said at `archc.archspec.vocabulary.Alibi`.
    """

    def series(count: int) -> list[float]:
        return [2.0 ** (-max_bias * i / count) for i in range(1, count + 1)]

    below = 2 ** math.floor(math.log2(heads))
    if below == heads:
        return series(heads)
    above = series(2 * below)
    if slopes == "interleaved":
        return series(below) + above[0::2][: heads - below]
    return (above[1::2] + above[0::2])[:heads]


class AlibiBias(nn.Module):
    """slope(head) · key position; softmax does not see the constant that would make it relative to the query."""

    def __init__(self, word: words.Alibi, heads: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.word, self.dtype = word, dtype
        self.slopes = alibi_slopes(heads, word.max_bias, word.slopes)

    def forward(self, mask_B1ST: Tensor) -> Tensor:
        """A mask, for its last size T → bias [1, H, 1, T] in the model's dtype."""
        device = mask_B1ST.device
        slopes_H11 = torch.tensor(self.slopes, dtype=torch.float32).to(device)[:, None, None]
        positions_T = torch.arange(mask_B1ST.shape[-1], device=device).float()
        if self.word.rounding == "bfloat16":
            slopes_H11, positions_T = (x.to(torch.bfloat16).float() for x in (slopes_H11, positions_T))
            return (slopes_H11 * positions_T).to(torch.bfloat16).to(self.dtype)[None]
        return (slopes_H11 * positions_T).to(self.dtype)[None]


class Sinusoids(nn.Module):
    """sin and cos of position · theta^(−2i/width) (Vaswani et al. 2017, section 3.5)."""

    def __init__(self, word: words.Sinusoidal, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.word, self.dtype = word, dtype
        self.frequencies: list[float] = base_frequencies(word.theta, width).tolist()

    def forward(self, position_ids_BS: Tensor) -> Tensor:
        """Positions [B, S] → what is added to their tokens [B, S, width], in the model's dtype."""
        frequencies = torch.tensor(self.frequencies, dtype=torch.float32).to(position_ids_BS.device)
        angles_BSR = position_ids_BS[:, :, None].float() * frequencies
        parts = [angles_BSR.sin(), angles_BSR.cos()]
        if self.word.layout == "halves":
            return torch.cat(parts, dim=-1).to(self.dtype)
        return torch.stack(parts, dim=-1).flatten(-2).to(self.dtype)


class LognFactor(nn.Module):
    """log(position) / log(n) for positions (from 1) past the trained length n, else 1 (Su 2021)."""

    def __init__(self, trained: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.trained, self.dtype = trained, dtype

    def forward(self, position_ids_BS: Tensor) -> Tensor:
        """Positions [B, S] → factors [B, 1, S, 1] in the model's dtype."""
        logs_BS = (position_ids_BS.float() + 1.0).log() / math.log(self.trained)
        return logs_BS.clamp(min=1.0)[:, None, :, None].to(self.dtype)
