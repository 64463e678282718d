"""Normalization layers; one module for each kind of `archc.archspec.vocabulary.norm`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.ops import operators as ops


class RmsNorm(nn.Module):
    """x · rsqrt(mean(x²) + eps) · weight (Zhang & Sennrich 2019); with a unit offset, · (1 + weight).

    The weight is absent if the word has none.
    """

    def __init__(self, word: words.RmsNorm, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.word, self.width = word, width
        self.weight = nn.Parameter(torch.empty(width, dtype=dtype)) if word.affine else None

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] → [..., width]."""
        weight = self.weight if self.weight is not None else torch.ones(self.width, dtype=x.dtype, device=x.device)
        return ops.rms_norm(x, weight, self.word.eps, float(self.word.unit_offset))


class LayerNorm(nn.Module):
    """(x − mean) · rsqrt(var + eps) · weight + bias (Ba et al. 2016); weight and bias only if the word has them."""

    def __init__(self, word: words.LayerNorm, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.word, self.width = word, width
        self.weight = nn.Parameter(torch.empty(width, dtype=dtype)) if word.affine else None
        self.bias = nn.Parameter(torch.empty(width, dtype=dtype)) if word.bias else None

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] → [..., width]."""
        return ops.layer_norm(x, self.weight, self.bias, self.word.eps, float(self.word.unit_offset))


class PerHead(nn.Module):
    """RMS or layer norm of each head, times one weight vector for each head: weight [heads, D]."""

    def __init__(self, word: words.RmsNorm | words.LayerNorm, heads: int, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.word = word
        self.weight = nn.Parameter(torch.empty(heads, width, dtype=dtype))

    def forward(self, x_BHSD: Tensor) -> Tensor:
        """[B, H, S, D] → [B, H, S, D]."""
        width = self.weight.shape[-1:]
        if self.word.kind == "rmsnorm":
            normed = ops.rms_norm(x_BHSD, torch.ones(width, dtype=x_BHSD.dtype, device=x_BHSD.device), self.word.eps)
        else:
            normed = ops.layer_norm(x_BHSD, None, None, self.word.eps)
        weight_HD = self.weight + 1.0 if self.word.unit_offset else self.weight
        return normed * weight_HD[:, None, :]


class GatedNorm(nn.Module):
    """y ⊙ sigmoid(up(silu(down(y)))) for the output y of a norm (A.X K2); the gate is computed in float32."""

    def __init__(self, norm: nn.Module, word: words.NormGate, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.norm = norm
        self.down = Linear(width, word.rank, False, dtype)
        self.up = Linear(word.rank, width, False, dtype)

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] → [..., width]."""
        y: Tensor = self.norm(x)
        gate: Tensor = self.up(nn.functional.silu(self.down(y)))
        return y * gate.float().sigmoid().to(y.dtype)


def make_norm(word: words.Norm | words.PlacedNorm | words.QkNorm, width: int, dtype: torch.dtype) -> nn.Module:
    """Return the module of a norm word for vectors of that width; the identity for `none`."""
    match word:
        case words.RmsNorm():
            return RmsNorm(word, width, dtype)
        case words.LayerNorm():
            return LayerNorm(word, width, dtype)
        case words.NoNorm():
            return nn.Identity()


def make_qk_norm(word: words.QkNorm, heads: int, head_dim: int, dtype: torch.dtype) -> nn.Module:
    """Return the module of a norm on queries or keys, over each head or over the whole projection."""
    if isinstance(word, words.NoNorm):
        return nn.Identity()
    if word.weights == "per-head":
        return PerHead(word, heads, head_dim, dtype)
    return make_norm(word, head_dim if word.over == "head" else heads * head_dim, dtype)
