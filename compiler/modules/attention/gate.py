"""A gate on the output of attention (Qiu et al. 2025, section 2.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.ops import operators as ops


class Gate(nn.Module):
    """y ⊙ activation(W x), for each channel of the heads or for each head; the activation is computed in float32."""

    def __init__(self, word: words.AttentionGate, heads: int, head_dim: int, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.word, self.heads = word, heads
        self.projection = Linear(width, heads if word.over == "heads" else heads * head_dim, word.bias, dtype)
        self.head_bias = nn.Parameter(torch.empty(heads, dtype=dtype)) if word.head_bias else None

    def forward(self, x_BSN: Tensor, y_BHSD: Tensor) -> Tensor:
        """[B, S, N], [B, H, S, D] → [B, H, S, D]."""
        gate_BHSG = ops.split_heads(self.projection(x_BSN), self.heads).float()
        if self.head_bias is not None:
            gate_BHSG = gate_BHSG + self.head_bias.float()[:, None, None]
        gate_BHSG = gate_BHSG.sigmoid() if self.word.activation == "sigmoid" else nn.functional.softplus(gate_BHSG)
        return y_BHSD * gate_BHSG.to(y_BHSD.dtype)
