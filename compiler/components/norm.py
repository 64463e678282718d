"""Normalisations; one module a kind of `archspec.vocabulary.norm`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archspec import vocabulary as words
from compiler import operators as ops


class RmsNorm(nn.Module):
    """x · rsqrt(mean(x²) + eps) · weight (Zhang & Sennrich 2019); with a unit offset, · (1 + weight)."""

    def __init__(self, word: words.RmsNorm, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.word = word
        self.weight = nn.Parameter(torch.empty(width, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] → [..., width]."""
        weight = self.weight + 1.0 if self.word.unit_offset else self.weight
        return ops.rms_norm(x, weight, self.word.eps)


class LayerNorm(nn.Module):
    """(x − mean) · rsqrt(var + eps) · weight + bias (Ba et al. 2016)."""

    def __init__(self, word: words.LayerNorm, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.eps = word.eps
        self.weight = nn.Parameter(torch.empty(width, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(width, dtype=dtype)) if word.bias else None

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] → [..., width]."""
        return nn.functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


def make_norm(word: words.Norm | words.PlacedNorm, width: int, dtype: torch.dtype) -> nn.Module:
    """The module of a norm word; the identity where the word is `none`."""
    match word:
        case words.RmsNorm():
            return RmsNorm(word, width, dtype)
        case words.LayerNorm():
            return LayerNorm(word, width, dtype)
        case words.NoNorm():
            return nn.Identity()
