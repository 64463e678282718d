"""Learned biases on the scores by relative position (Raffel et al. 2020, T5, section 2.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class BiasTable(nn.Module):
    """Lookup table of one bias for each bucket and head: weight [buckets, H]."""

    def __init__(self, buckets: int, heads: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(buckets, heads, dtype=dtype))

    def forward(self, buckets_BST: Tensor) -> Tensor:
        """int64 buckets [B, S, T] → biases on the scores [B, H, S, T]."""
        return nn.functional.embedding(buckets_BST, self.weight).permute(0, 3, 1, 2)
