"""Causal convolutions over time, and the tail of their input that they keep between calls.

Shape suffixes as in `archc.compiler.ops.operators`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.contract.state import State
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.modules.basic.norm import make_norm
from archc.compiler.ops import operators as ops


class TwoTapConvolution(nn.Module):
    """y[t] = previous · x[t − 1] + current · x[t] + bias, with x[−1] = 0."""

    def __init__(self, inputs: int, outputs: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.previous = Linear(inputs, outputs, False, dtype)
        self.current = Linear(inputs, outputs, True, dtype)

    def forward(self, x_BSN: Tensor, tail_B1N: Tensor | None) -> Tensor:
        """[B, S, N] → [B, S, M]; the tail is x[−1] of an earlier call, None at a sequence's start."""
        if tail_B1N is None:
            tail_B1N = torch.zeros_like(x_BSN[:, :1])
        shifted_BSN = torch.cat((tail_B1N, x_BSN), dim=1)[:, :-1]
        return self.previous(shifted_BSN) + self.current(x_BSN)


def last_input(x_BSN: Tensor, tail_B1N: Tensor, lengths_B: Tensor) -> Tensor:
    """The tail for the next call [B, 1, N]: each row's last real input, or its old tail where the call has none."""
    return ops.take_positions(torch.cat((tail_B1N, x_BSN), dim=1), lengths_B[:, None])


class LocalizedFilter(nn.Module):
    """norm(x + conv(conv(x))) (Wu et al. 2023, section 2.1)."""

    def __init__(self, word: words.LocalizedFilter, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.first = TwoTapConvolution(width, word.width, dtype)
        self.second = TwoTapConvolution(word.width, width, dtype)
        self.norm = make_norm(word.norm, width, dtype)

    def forward(self, x_BSN: Tensor, state: State, lengths_B: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        """[B, S, N] → [B, S, N], and the convolutions' new tails where there is a state."""
        tail, inner_tail = state.get("filter.input"), state.get("filter.inner")
        inner_BSN = self.first(x_BSN, tail)
        y_BSN = self.norm(x_BSN + self.second(inner_BSN, inner_tail))
        if tail is None or inner_tail is None or lengths_B is None:
            return y_BSN, {}
        return y_BSN, {
            "filter.input": last_input(x_BSN, tail, lengths_B),
            "filter.inner": last_input(inner_BSN, inner_tail, lengths_B),
        }
