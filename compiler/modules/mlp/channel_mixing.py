"""RWKV's channel mixing: an MLP of shifted inputs (Peng et al. 2023, section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.contract.state import State
from archc.compiler.modules.basic.activations import make_activation
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.modules.basic.shift import tail_state
from archc.compiler.modules.layer_inputs import LayerInputs
from archc.compiler.modules.recurrent.token_shift import StaticShift


class ChannelMixing(nn.Module):
    """down(act(up(k))), times sigmoid(receptance(r)) if there is a receptance; k and r are shifted inputs (eq. 17)."""

    def __init__(self, word: words.ChannelMixing, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        streams = ("k", "r") if word.receptance else ("k",)
        self.shift = StaticShift(words.StaticShift(weighs=word.weighs), streams, width, dtype)
        self.up = Linear(width, word.width, False, dtype)
        self.down = Linear(word.width, width, False, dtype)
        self.receptance = Linear(width, width, False, dtype) if word.receptance else None
        self.activation = make_activation(word.activation, dtype)

    def forward(self, x_BSN: Tensor, inputs: LayerInputs, state: State) -> tuple[Tensor, dict[str, Tensor]]:
        """[B, S, N] → [B, S, N], and the new state; it is empty if `state` is."""
        shifted = self.shift(x_BSN, state.get("mlp.shift"))
        y = self.down(self.activation(self.up(shifted["k"])))
        if self.receptance is not None:
            y = self.receptance(shifted["r"]).sigmoid() * y
        return y, tail_state(x_BSN, state, "mlp.shift", inputs.lengths_B)
