"""LFM2's token mixer: a gated short convolution (Liquid AI 2025)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.contract.state import State
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.modules.basic.shift import tail_state
from archc.compiler.modules.layer_inputs import LayerInputs
from archc.compiler.modules.recurrent.convolution import DepthwiseConvolution


class ShortConvolution(nn.Module):
    """o(c(u) ⊙ convolution(b(u) ⊙ x(u)))."""

    def __init__(self, word: words.ShortConvolution, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.word = word
        self.b, self.c, self.x = (Linear(width, word.width, word.bias, dtype) for _ in range(3))
        self.convolution = DepthwiseConvolution(word.convolution.kernel, word.width, word.convolution.bias, dtype)
        self.o = Linear(word.width, width, word.bias, dtype)

    def forward(self, u_BSN: Tensor, inputs: LayerInputs, state: State) -> tuple[Tensor, dict[str, Tensor]]:
        """[B, S, N] → [B, S, N], and the new state; it is empty if `state` is."""
        gated = self.b(u_BSN) * self.x(u_BSN)
        y = self.convolution(gated, state.get("recurrence.input"))
        present = tail_state(gated, state, "recurrence.input", inputs.lengths_B)
        return self.o(self.c(u_BSN) * y), present
