"""Mamba's token mixer: a selective state-space model (Gu & Dao 2023, section 3.4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.contract.state import State
from archc.compiler.modules.basic.activations import make_activation
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.modules.basic.norm import make_norm
from archc.compiler.modules.basic.shift import tail_state
from archc.compiler.modules.layer_inputs import LayerInputs
from archc.compiler.modules.recurrent.convolution import DepthwiseConvolution
from archc.compiler.ops import recurrences


class SelectiveScan(nn.Module):
    """output((scan(x) + skip ⊙ x) ⊙ act(z)) with x = act(convolution(input_x(u))) and z = input_z(u)."""

    def __init__(self, word: words.SelectiveScan, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.word = word
        self.input = Linear(width, 2 * word.width, word.bias, dtype)
        self.convolution = DepthwiseConvolution(word.kernel, word.width, word.kernel_bias, dtype)
        self.inner = Linear(word.width, word.step_rank + 2 * word.state, False, dtype)
        self.step_norm = make_norm(word.inner_norm, word.step_rank, dtype)
        self.b_norm = make_norm(word.inner_norm, word.state, dtype)
        self.c_norm = make_norm(word.inner_norm, word.state, dtype)
        self.step = Linear(word.step_rank, word.width, True, dtype)
        self.decay_log = nn.Parameter(torch.empty(word.state, word.width, dtype=dtype))
        self.skip = nn.Parameter(torch.empty(word.width, dtype=dtype))
        self.output = Linear(word.width, width, word.bias, dtype)
        self.activation = make_activation(word.activation, dtype)

    def forward(self, x_BSN: Tensor, inputs: LayerInputs, state: State) -> tuple[Tensor, dict[str, Tensor]]:
        """[B, S, N] → [B, S, N], and the new state; it is empty if `state` is."""
        word = self.word
        raw, z = self.input(x_BSN).split(word.width, dim=-1)
        x = self.activation(self.convolution(raw, state.get("recurrence.input")))
        inner = self.inner(x).split([word.step_rank, word.state, word.state], dim=-1)
        rank, b, c = (norm(part) for norm, part in zip((self.step_norm, self.b_norm, self.c_norm), inner, strict=True))
        # A step of zero neither decays nor updates the state.
        step = inputs.mask_padding(nn.functional.softplus(self.step(rank).float()))
        past = state["recurrence.state"] if state else step.new_zeros(x.shape[0], word.state, word.width)
        decay = -self.decay_log.float().exp()
        y, new = recurrences.selective_scan(x.float(), step, b.float(), c.float(), decay, past)
        present = tail_state(raw, state, "recurrence.input", inputs.lengths_B)
        if state:
            present["recurrence.state"] = new
        return self.output((y.to(x.dtype) + x * self.skip) * self.activation(z)), present
