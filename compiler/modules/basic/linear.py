"""The linear projection that all other modules use."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.compiler.ops import operators as ops


def scaled(x: Tensor, factor: float | None) -> Tensor:
    """Return x · factor; x if there is none."""
    return x if factor is None or factor == 1 else x * factor


class Linear(nn.Module):
    """x · weightᵀ + bias, weight [outputs, inputs], bias [outputs]; parameters are uninitialized."""

    def __init__(self, inputs: int, outputs: int, bias: bool, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(outputs, dtype=dtype)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] → [..., outputs]."""
        return ops.linear(x, self.weight, self.bias)


class GroupedLinear(nn.Module):
    """A projection of equal groups of channels, each by itself: weight [outputs, inputs / groups], bias [outputs]."""

    def __init__(self, inputs: int, outputs: int, bias: bool, groups: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.empty(outputs, inputs // groups, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(outputs, dtype=dtype)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """[B, S, inputs] → [B, S, outputs]."""
        outputs, inputs = self.weight.shape
        weight_GNM = self.weight.reshape(self.groups, outputs // self.groups, inputs).permute(0, 2, 1)
        y = ops.merge_heads(ops.product(ops.split_heads(x, self.groups), weight_GNM[None]))
        return y if self.bias is None else y + self.bias


def make_linear(inputs: int, outputs: int, bias: bool, groups: int, dtype: torch.dtype) -> Linear | GroupedLinear:
    """Return the module of a projection with groups, which is a plain one if there is one group."""
    return Linear(inputs, outputs, bias, dtype) if groups == 1 else GroupedLinear(inputs, outputs, bias, groups, dtype)
