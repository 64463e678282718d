"""Mixers without a state: one matrix instead of attention, or a Fourier transform."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.contract.state import State
from archc.compiler.modules.basic.fourier import FourierMixing
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.modules.layer_inputs import LayerInputs


class LinearMixing(nn.Module):
    """W x of each token, in place of attention (Bercovich et al. 2024, Puzzle, section 2)."""

    def __init__(self, word: words.LinearMixing, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.projection = Linear(width, width, word.bias, dtype)

    def forward(self, x_BSN: Tensor, inputs: LayerInputs, state: State) -> tuple[Tensor, dict[str, Tensor]]:
        """[B, S, N] → [B, S, N], and no state."""
        return self.projection(x_BSN), {}


def make_mixing(word: words.Mixing, width: int, dtype: torch.dtype) -> nn.Module:
    """Return the module of a mixer for a residual stream of that width."""
    match word:
        case words.FourierMixing():
            return FourierMixing()
        case words.LinearMixing():
            return LinearMixing(word, width, dtype)
