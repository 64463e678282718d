"""Low-rank projection: RWKV computes its data-dependent decay, rates and gates with it, with a function between
(Peng et al. 2024; 2025); an adapter is one without (Hu et al. 2021).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from archc.compiler.modules.basic.linear import Linear


class LowRank(nn.Module):
    """up(function(down(x))), down without a bias."""

    def __init__(
        self,
        inputs: int,
        rank: int,
        outputs: int,
        bias: bool,
        dtype: torch.dtype,
        function: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.down = Linear(inputs, rank, False, dtype)
        self.up = Linear(rank, outputs, bias, dtype)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] → [..., outputs]."""
        inner = self.down(x)
        y: Tensor = self.up(inner if self.function is None else self.function(inner))
        return y
