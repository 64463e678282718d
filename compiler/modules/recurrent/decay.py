"""Decays of a matrix state: of data-dependent step sizes, and constant ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.modules.recurrent.low_rank import LowRank
from archc.compiler.ops import recurrences


class StepDecay(nn.Module):
    """exp(−exp(log) · Δ), Δ = clamp(softplus(step(x) + bias)), by head or by key channel (Dao & Gu 2024, Mamba-2)."""

    def __init__(self, word: words.MatrixState, decay: words.StepDecay, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.word, self.heads = decay, word.heads
        outputs = word.heads * word.key_dim if decay.over == "channels" else word.heads
        self.step = make_projection(width, decay.rank, outputs, word.bias, dtype)
        self.bias = nn.Parameter(torch.empty(outputs, dtype=dtype))
        self.log = nn.Parameter(torch.empty(word.heads, dtype=dtype))

    def forward(self, x_BSN: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the log decays, [B, S, H] or [B, S, H · D], and the step sizes [B, S, H] if they scale values."""
        word = self.word
        step = nn.functional.softplus(self.step(x_BSN).float() + self.bias.float())
        if word.least or word.most is not None:
            step = step.clamp(word.least or None, word.most)
        factor = -self.log.float().exp()
        if word.over == "heads":
            return step * factor, step if word.scales_values else None
        return recurrences.join_heads(recurrences.part_heads(step, self.heads) * factor[:, None]), None


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
