"""The causal depthwise convolution of Mamba (Gu & Dao 2023, section 3.4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.compiler.modules.basic.shift import with_tail


class DepthwiseConvolution(nn.Module):
    """y[t] = Σ weight[j] · x[t − K + 1 + j] + bias for each channel, with K taps and zeros before the first input."""

    def __init__(self, taps: int, width: int, bias: bool, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(taps, width, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(width, dtype=dtype)) if bias else None

    def forward(self, x_BSI: Tensor, tail_BKI: Tensor | None) -> Tensor:
        """[B, S, I], and the K − 1 inputs before them (None at the beginning of a sequence) → [B, S, I]."""
        taps = self.weight.shape[0]
        inputs = with_tail(x_BSI, tail_BKI, taps - 1)
        # Slices end relative to the end, so that they do not depend on the length of the call.
        terms = [inputs[:, j : (j - taps + 1) or None] * self.weight[j : j + 1] for j in range(taps)]
        y = sum(terms[1:], terms[0])
        return y if self.bias is None else y + self.bias
