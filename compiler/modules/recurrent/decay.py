"""Decays of a matrix state: data-dependent and constant ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.modules.basic.linear import Linear, scaled
from archc.compiler.modules.basic.low_rank import LowRank
from archc.compiler.ops import recurrences


class ProjectedDecay(nn.Module):
    """A decay that a projection of the input determines, by head or by key channel."""

    def __init__(self, word: words.MatrixState, decay: words.ProjectedDecay, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.by_channel, self.heads = decay.over == "channels", word.heads
        outputs = word.heads * word.key_dim if self.by_channel else word.heads
        self.step = make_projection(width, decay.rank, outputs, word.bias, dtype)
        self.bias = nn.Parameter(torch.empty(outputs, dtype=dtype))
        self.scale = word.scales.step
        self.log = nn.Parameter(torch.empty(word.heads, dtype=dtype))

    def project(self, x_BSN: Tensor) -> Tensor:
        """Return step(x) + bias in float32, [B, S, H] or [B, S, H · D]."""
        step: Tensor = self.step(x_BSN).float()
        return scaled(step, self.scale) + self.bias.float()

    def times_rate(self, x: Tensor) -> Tensor:
        """Return [B, S, H] or [B, S, H · D] times exp(log) of each head."""
        rate_H = self.log.float().exp()
        if not self.by_channel:
            return x * rate_H
        return recurrences.join_heads(recurrences.part_heads(x, self.heads) * rate_H[:, None])


class StepDecay(ProjectedDecay):
    """exp(−exp(log) · Δ), Δ = clamp(softplus(step(x) + bias)) (Dao & Gu 2024, Mamba-2)."""

    def __init__(self, word: words.MatrixState, decay: words.StepDecay, width: int, dtype: torch.dtype) -> None:
        super().__init__(word, decay, width, dtype)
        self.decay = decay

    def forward(self, x_BSN: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the log decays, [B, S, H] or [B, S, H · D], and the step sizes [B, S, H] if they scale values."""
        step = nn.functional.softplus(self.project(x_BSN))
        if self.decay.least or self.decay.most is not None:
            step = step.clamp(self.decay.least or None, self.decay.most)
        return -self.times_rate(step), step if self.decay.scales_values else None


class BoundedDecay(ProjectedDecay):
    """exp(−bound · sigmoid(exp(log) · (step(x) + bias))) (Ling 3)."""

    def __init__(self, word: words.MatrixState, decay: words.BoundedDecay, width: int, dtype: torch.dtype) -> None:
        super().__init__(word, decay, width, dtype)
        self.bound = decay.bound

    def forward(self, x_BSN: Tensor) -> tuple[Tensor, None]:
        """Return the log decays, [B, S, H] or [B, S, H · D]."""
        return -self.bound * self.times_rate(self.project(x_BSN)).sigmoid(), None


class FixedDecay(nn.Module):
    """exp(−factor · 2^(−8 (h + 1) / heads)), the slopes of ALiBi as decays (Qin et al. 2024)."""

    def __init__(self, word: words.FixedDecay, heads: int) -> None:
        super().__init__()
        self.exponents = [-word.factor * 2 ** (-8 * (head + 1) / heads) for head in range(heads)]

    def forward(self, x_BSN: Tensor) -> tuple[Tensor, None]:
        """Return the log decays of each position, [B, S, H]."""
        log_decay_H = torch.tensor(self.exponents).to(x_BSN.device)
        return log_decay_H.expand(x_BSN.shape[0], x_BSN.shape[1], -1), None


def make_projection(width: int, rank: int | None, outputs: int, bias: bool, dtype: torch.dtype) -> nn.Module:
    """Return a projection, of low rank if there is one; the bias is that of its last matrix."""
    if rank is None:
        return Linear(width, outputs, bias, dtype)
    return LowRank(width, rank, outputs, bias, dtype)
