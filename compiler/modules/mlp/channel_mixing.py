"""Channel mixing: an MLP that also sees the position before (Peng et al. 2023, RWKV, section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.contract.state import State
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.modules.layer_inputs import Signals
from archc.compiler.modules.recurrent.token_shift import StaticShift, new_tail
from archc.compiler.ops.activations import activation


class ChannelMixing(nn.Module):
    """down(act(up(k))), times sigmoid(receptance(r)) where there is a receptance; k and r are shifted inputs."""

    def __init__(self, word: words.ChannelMixing, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        streams = ("k", "r") if word.receptance else ("k",)
        self.shift = StaticShift(words.StaticShift(weighs=word.weighs), streams, width, dtype)
        self.up = Linear(width, word.width, False, dtype)
        self.down = Linear(word.width, width, False, dtype)
        self.receptance = Linear(width, width, False, dtype) if word.receptance else None
        self.activation = activation(word.activation)

    def forward(self, x_BSN: Tensor, signals: Signals, state: State) -> tuple[Tensor, dict[str, Tensor]]:
        """[B, S, N] → [B, S, N], and the state after it, for a state that is not empty."""
        inputs = self.shift(x_BSN, state.get("mlp.shift"))
        y = self.down(self.activation(self.up(inputs["k"])))
        if self.receptance is not None:
            y = self.receptance(inputs["r"]).sigmoid() * y
        return y, new_tail(x_BSN, state, "mlp.shift", signals)
