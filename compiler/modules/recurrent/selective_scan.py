"""Mamba's token mixer: a selective state-space model (Gu & Dao 2023, section 3.4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.contract.state import State
from archc.compiler.modules.basic.activations import make_activation
from archc.compiler.modules.basic.linear import Linear, make_linear
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
        inner = word.heads * (word.step_rank + 2 * word.state)
        self.inner = make_linear(word.width, inner, False, word.heads, dtype)
        self.step_norm = make_norm(word.inner_norm, word.step_rank, dtype)
        self.b_norm = make_norm(word.inner_norm, word.state, dtype)
        self.c_norm = make_norm(word.inner_norm, word.state, dtype)
        self.step = make_linear(word.heads * word.step_rank, word.width, True, word.heads, dtype)
        self.decay_log = nn.Parameter(torch.empty(word.state, word.width, dtype=dtype))
        self.skip = nn.Parameter(torch.empty(word.width, dtype=dtype))
        self.output = Linear(word.width, width, word.bias, dtype)
        self.activation = make_activation(word.activation, dtype)

    def forward(self, x_BSN: Tensor, inputs: LayerInputs, state: State) -> tuple[Tensor, dict[str, Tensor]]:
        """[B, S, N] → [B, S, N], and the new state; it is empty if `state` is."""
        word = self.word
        raw, z = self.input(x_BSN).split(word.width, dim=-1)
        x = self.activation(self.convolution(raw, state.get("recurrence.input")))
        ranks, b, c = zip(*map(self.normed, self.by_head(self.inner(x))), strict=True)
        rank = ranks[0] if word.heads == 1 else torch.cat(ranks, dim=-1)
        # A step of zero neither decays nor updates the state.
        step = inputs.mask_padding(nn.functional.softplus(self.step(rank).float()))
        past = state["recurrence.state"] if state else step.new_zeros(x.shape[0], word.state, word.width)
        y, new = self.scan(x.float(), step, b, c, past)
        present = tail_state(raw, state, "recurrence.input", inputs.lengths_B)
        if state:
            present["recurrence.state"] = new
        return self.output((y.to(x.dtype) + x * self.skip) * self.activation(z)), present

    def by_head(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return equal parts of the last axis, one for each head."""
        return (x,) if self.word.heads == 1 else x.chunk(self.word.heads, dim=-1)

    def normed(self, inner_BSM: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the low-rank step size, B and C of one head, each normalized."""
        rank, b, c = inner_BSM.split([self.word.step_rank, self.word.state, self.word.state], dim=-1)
        return self.step_norm(rank), self.b_norm(b), self.c_norm(c)

    def scan(
        self, x_BSI: Tensor, step_BSI: Tensor, b_BSN: Sequence[Tensor], c_BSN: Sequence[Tensor], state_BNI: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the scan of each head's channels, [B, S, I], and the new state [B, N, I]."""
        decay_NI = -self.decay_log.float().exp()
        by_head = zip(*map(self.by_head, (x_BSI, step_BSI, decay_NI, state_BNI)), strict=True)
        results = [
            recurrences.selective_scan(x, step, b.float(), c.float(), decay, state)
            for (x, step, decay, state), b, c in zip(by_head, b_BSN, c_BSN, strict=True)
        ]
        if len(results) == 1:
            return results[0]
        outputs, states = zip(*results, strict=True)
        return torch.cat(outputs, dim=-1), torch.cat(states, dim=-1)
