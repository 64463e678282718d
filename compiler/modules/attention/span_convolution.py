"""Span-based dynamic convolution (Jiang et al. 2020, ConvBERT, section 3.2).

Shape suffixes as in `archc.compiler.ops.operators`, and: K kernel size, M channels of all heads.
"""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor, nn

from archc.compiler.modules.basic.convolution import around
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.ops import operators as ops


class SpanConvolution(nn.Module):
    """Σ kernel(s)[offset] · v[s + offset], kernel = softmax(W (pointwise(depthwise(x)) ⊙ q)), by token and head."""

    def __init__(self, kernel: int, heads: int, head_dim: int, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.size, self.heads = kernel, heads
        self.depthwise = nn.Parameter(torch.empty(width, kernel, dtype=dtype))
        self.pointwise = Linear(width, heads * head_dim, True, dtype)
        self.kernel = Linear(heads * head_dim, heads * kernel, True, dtype)
        self.v = Linear(width, heads * head_dim, True, dtype)

    def forward(self, x_BSN: Tensor, query_BSM: Tensor, real_BS1: Tensor | None) -> Tensor:
        """Inputs [B, S, N], projected queries [B, S, M], 1 for tokens and 0 for padding → [B, H, S, D]."""
        values_BSM = self.v(x_BSN)
        if real_BS1 is not None:
            real = real_BS1.to(x_BSN.dtype)
            x_BSN, values_BSM = x_BSN * real, values_BSM * real
        spans = [x * self.depthwise[:, offset] for offset, x in enumerate(around(x_BSN, self.size))]
        kernels_BSX = self.kernel(self.pointwise(reduce(torch.add, spans)) * query_BSM)
        kernels_BHSK = ops.split_heads(kernels_BSX, self.heads).softmax(dim=-1)
        windows = [ops.split_heads(value, self.heads) for value in around(values_BSM, self.size)]
        return reduce(torch.add, [kernels_BHSK[..., k : k + 1] * window for k, window in enumerate(windows)])
