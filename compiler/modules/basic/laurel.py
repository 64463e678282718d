"""Learned augmented residual layer (LAuReL, Menghani et al. 2024)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.modules.basic.linear import Linear, scaled
from archc.compiler.modules.basic.norm import make_norm


class Laurel(nn.Module):
    """scale · (y + u + norm(up(down(u)))) for the mixer's input u and the stream y after its branch (Gemma 3n)."""

    def __init__(self, word: words.Laurel, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.scale = word.scale
        self.down = Linear(width, word.rank, False, dtype)
        self.up = Linear(word.rank, width, False, dtype)
        self.norm = make_norm(word.norm, width, dtype)

    def forward(self, y_BSN: Tensor, u_BSN: Tensor) -> Tensor:
        """[B, S, N], [B, S, N] → [B, S, N]."""
        return scaled(y_BSN + u_BSN + self.norm(self.up(self.down(u_BSN))), self.scale)
