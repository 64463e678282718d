"""Group norm over the channels of each head."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.ops import recurrences


class HeadNorm(nn.Module):
    """Layer norm of each head, then one weight and bias for each channel: the group norm of Wu & He 2018."""

    def __init__(self, word: words.HeadNorm, heads: int, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.eps, self.heads, self.head_dim = word.eps, heads, width // heads
        self.weight = nn.Parameter(torch.empty(width, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(width, dtype=dtype))

    def forward(self, x_BSM: Tensor) -> Tensor:
        """[B, S, M] → [B, S, M], M the channels of all heads."""
        x_BSHD = recurrences.part_heads(x_BSM, self.heads)
        normed_BSHD = nn.functional.layer_norm(x_BSHD, (self.head_dim,), None, None, self.eps)
        return recurrences.join_heads(normed_BSHD) * self.weight + self.bias
