"""Differential attention: pairs of heads over common values, and the norm of their difference."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.modules.basic.norm import make_norm


class DifferentialHeads(nn.Module):
    """(1 − init) · norm(y₁ − λ · y₂), with λ = exp(q₁ · k₁) − exp(q₂ · k₂) + init (Ye et al. 2024, section 2.1)."""

    def __init__(self, word: words.DifferentialHeads, head_dim: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.init = word.init
        self.q1, self.k1, self.q2, self.k2 = (nn.Parameter(torch.empty(head_dim, dtype=dtype)) for _ in range(4))
        self.norm = make_norm(word.norm, 2 * head_dim, dtype)

    def pair(self, v_BKSD: Tensor) -> Tensor:
        """[B, K, S, D] → [B, K, S, 2D]: heads i and i + K/2 side by side, for both of them."""
        pairs = torch.cat(v_BKSD.chunk(2, dim=1), dim=-1)
        return torch.cat((pairs, pairs), dim=1)

    def forward(self, y_BHSV: Tensor) -> Tensor:
        """[B, H, S, 2D] → [B, H/2, S, 2D]."""
        first, second = y_BHSV.chunk(2, dim=1)
        factors = [(q * k).float().sum(-1).exp().to(y_BHSV.dtype) for q, k in ((self.q1, self.k1), (self.q2, self.k2))]
        normed: Tensor = self.norm(first - (factors[0] - factors[1] + self.init) * second)
        return (1.0 - self.init) * normed
