"""Cross-attention: a decoder's queries over keys and values of the encoder's output, computed once per sequence.

Shape suffixes as in `archc.compiler.ops.operators`; T is the number of source positions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.modules.basic.norm import make_qk_norm
from archc.compiler.ops import operators as ops


class CrossAttention(nn.Module):
    """softmax(scale · q(x) · k(source)ᵀ) · v(source), without positions (Vaswani et al. 2017, section 3.2.3)."""

    def __init__(self, word: words.CrossAttention, width: int, source_width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.word = word
        self.scale = word.scale if word.scale is not None else 1.0 / math.sqrt(word.head_dim)
        queries, keys = word.heads * word.head_dim, word.kv_heads * word.head_dim
        self.q = Linear(width, queries, word.bias.qkv, dtype)
        self.k = Linear(source_width, keys, word.bias.on_keys, dtype)
        self.v = Linear(source_width, keys, word.bias.qkv, dtype)
        self.o = Linear(queries, width, word.bias.out, dtype)
        self.q_norm = make_qk_norm(word.qk_norm, word.heads, word.head_dim, dtype)
        self.k_norm = make_qk_norm(word.qk_norm, word.kv_heads, word.head_dim, dtype)

    def keys_values(self, source_BTN: Tensor) -> tuple[Tensor, Tensor]:
        """The encoder's output [B, T, source_width] → keys and values [B, K, T, D], constant for a sequence."""
        keys = self.to_heads(self.k(source_BTN), self.word.kv_heads, self.k_norm)
        return keys, self.to_heads(self.v(source_BTN), self.word.kv_heads, None)

    def forward(self, x_BSN: Tensor, k_BKTD: Tensor, v_BKTD: Tensor, mask_B1ST: Tensor) -> Tensor:
        """[B, S, width] → [B, S, width]; the mask is false at the padding of the source."""
        q_BHSD = self.to_heads(self.q(x_BSN), self.word.heads, self.q_norm)
        y_BHSD = ops.attention(q_BHSD, k_BKTD, v_BKTD, mask_B1ST, None, self.scale, self.word.softcap or 0.0)
        return self.o(ops.merge_heads(y_BHSD))

    def to_heads(self, x_BSM: Tensor, heads: int, norm: nn.Module | None) -> Tensor:
        """Return a projection [B, S, heads·D] as heads [B, heads, S, D], clipped and normed if the word has it."""
        if self.word.clip is not None:
            x_BSM = x_BSM.clamp(-self.word.clip, self.word.clip)
        over_projection = getattr(self.word.qk_norm, "over", "head") == "projection"
        if norm is not None and over_projection:
            x_BSM = norm(x_BSM)
        x_BHSD = ops.split_heads(x_BSM, heads)
        return norm(x_BHSD) if norm is not None and not over_projection else x_BHSD
