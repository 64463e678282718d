"""Dynamic mask attention: biases and a selection of keys by their values (Shi et al. 2025, section 3).

Shape suffixes as in `archc.compiler.ops.operators`; G query heads share a key/value head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.ops import operators as ops
from archc.compiler.ops.key_bias import key_bias
from archc.compiler.ops.key_selection import select_keys


class DynamicMask(nn.Module):
    """exp(rate · softplus(W v)) of each key and key/value head, and the keys of the largest ones."""

    def __init__(self, word: words.DynamicMask, attention: words.GroupedQueryAttention, dtype: torch.dtype) -> None:
        super().__init__()
        self.word, self.kv_heads, self.groups = word, attention.kv_heads, attention.heads // attention.kv_heads
        self.projection = Linear(attention.kv_heads * attention.value_width, attention.kv_heads, word.bias, dtype)
        self.rate = nn.Parameter(torch.empty(attention.kv_heads, dtype=dtype))

    def forward(self, v_BSM: Tensor) -> Tensor:
        """Values [B, S, K · D] → biases of their keys [B, K, S, 1]."""
        step_BSK = nn.functional.softplus(self.projection(v_BSM).float())
        return ops.split_heads((step_BSK * self.rate.float()).exp().to(v_BSM.dtype), self.kv_heads)

    def biases(self, bias_BKC1: Tensor, mask_B1ST: Tensor) -> Tensor:
        """Return the biases of the live keys for each query head, [B, H, 1, T]."""
        return key_bias(bias_BKC1, mask_B1ST, self.groups)

    def select(self, q_BHSD: Tensor, bias_BH1T: Tensor, mask_B1ST: Tensor) -> Tensor:
        """Return the mask of the selected keys for each query head, [B, H, S, T]."""
        # Scores 1 · ReLU(1 · bias) of one head of each group; biases are positive.
        ones_B1S1 = torch.ones_like(q_BHSD[:, :1, :, :1])
        masks = [
            select_keys(ones_B1S1, bias_B11T.permute(0, 1, 3, 2), ones_B1S1[:, 0], mask_B1ST, self.word.keys)
            for bias_B11T in bias_BH1T.split(1, dim=1)[:: self.groups]
        ]
        return torch.cat([mask for mask in masks for _ in range(self.groups)], dim=1)
