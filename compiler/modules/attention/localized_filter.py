"""Localized filtering: two causal convolutions before the query and key projections (Wu et al. 2023, Yuan 2.0).

Shape suffixes as in `archc.compiler.ops.operators`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.contract.state import State
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.modules.basic.norm import make_norm
from archc.compiler.modules.basic.shift import shift, tail_state


class TwoTapConvolution(nn.Module):
    """y[t] = previous · x[t − 1] + current · x[t] + bias, with x[−1] = 0."""

    def __init__(self, inputs: int, outputs: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.previous = Linear(inputs, outputs, False, dtype)
        self.current = Linear(inputs, outputs, True, dtype)

    def forward(self, x_BSN: Tensor, tail_B1N: Tensor | None) -> Tensor:
        """[B, S, N] → [B, S, M]; the tail is x[−1] of an earlier call, None at the beginning of a sequence."""
        return self.previous(shift(x_BSN, tail_B1N)) + self.current(x_BSN)


class LocalizedFilter(nn.Module):
    """norm(x + conv(conv(x))) (Wu et al. 2023, section 2.1)."""

    def __init__(self, word: words.LocalizedFilter, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.first = TwoTapConvolution(width, word.width, dtype)
        self.second = TwoTapConvolution(word.width, width, dtype)
        self.norm = make_norm(word.norm, width, dtype)

    def forward(self, x_BSN: Tensor, state: State, lengths_B: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        """[B, S, N] → [B, S, N], and the new tails of both convolutions if there is a cache."""
        inner_BSN = self.first(x_BSN, state.get("filter.input"))
        y_BSN = self.norm(x_BSN + self.second(inner_BSN, state.get("filter.inner")))
        present = tail_state(x_BSN, state, "filter.input", lengths_B)
        return y_BSN, present | tail_state(inner_BSN, state, "filter.inner", lengths_B)
