"""The causal depthwise convolution of Mamba (Gu & Dao 2023, section 3.4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.modules.basic.shift import with_tail


class DepthwiseConvolution(nn.Module):
    """y[t] = Σ weight[j] · x[t − (K − 1 − j) · step] + bias for each channel: K taps, zeros before the first input."""

    def __init__(self, taps: int, width: int, bias: bool, dtype: torch.dtype, step: int = 1) -> None:
        super().__init__()
        self.step = step
        self.weight = nn.Parameter(torch.empty(taps, width, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(width, dtype=dtype)) if bias else None

    def forward(self, x_BSI: Tensor, tail_BKI: Tensor | None) -> Tensor:
        """[B, S, I], and the (K − 1) · step inputs before them (None at the beginning of a sequence) → [B, S, I]."""
        return convolve(x_BSI, tail_BKI, self.weight, self.bias, self.step)


class JoinedConvolution(nn.Module):
    """One depthwise convolution over several streams of channels, which have weights of their own names."""

    def __init__(self, word: words.Convolution, widths: Mapping[str, int], dtype: torch.dtype) -> None:
        super().__init__()
        self.streams = tuple(widths)
        for name, width in widths.items():
            self.add_module(name, DepthwiseConvolution(word.kernel, width, word.bias, dtype))

    def forward(self, x_BSI: Tensor, tail_BKI: Tensor | None) -> Tensor:
        """[B, S, I], I the channels of all streams, and the K − 1 inputs before them → [B, S, I]."""
        parts = [cast(DepthwiseConvolution, self.get_submodule(name)) for name in self.streams]
        biases: list[Tensor] = [part.bias for part in parts if part.bias is not None]
        bias = torch.cat(biases) if biases else None
        return convolve(x_BSI, tail_BKI, torch.cat([part.weight for part in parts], dim=1), bias)


def convolve(x_BSI: Tensor, tail_BKI: Tensor | None, weight_KI: Tensor, bias_I: Tensor | None, step: int = 1) -> Tensor:
    """Return the causal depthwise convolution of x [B, S, I] after its tail; K taps in the weight, `step` apart."""
    taps = weight_KI.shape[0]
    inputs = with_tail(x_BSI, tail_BKI, (taps - 1) * step)
    # Slices end relative to the end, so that they do not depend on the length of the call.
    terms = [inputs[:, j * step : (j - taps + 1) * step or None] * weight_KI[j : j + 1] for j in range(taps)]
    y = sum(terms[1:], terms[0])
    return y if bias_I is None else y + bias_I
