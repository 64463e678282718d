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
