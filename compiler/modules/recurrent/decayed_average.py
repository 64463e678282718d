"""RWKV-4's token mixer: an average of values with weights that decay (Peng et al. 2023, RWKV, section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.contract.state import State
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.modules.basic.shift import tail_state
from archc.compiler.modules.layer_inputs import LayerInputs
from archc.compiler.modules.recurrent.token_shift import make_shift
from archc.compiler.ops import recurrences
from archc.compiler.ops.recurrences.decayed_average import LOG_ZERO


class DecayedAverage(nn.Module):
    """o(sigmoid(r) ⊙ Σ p v / Σ p), p = exp(k) with a decay; r, k and v are projections of shifted inputs."""

    def __init__(self, word: words.DecayedAverage, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.word = word
        self.shift = make_shift(word.shift, ("k", "v", "r"), width, dtype)
        self.r, self.k, self.v = (Linear(width, word.width, False, dtype) for _ in range(3))
        self.o = Linear(word.width, width, False, dtype)
        self.decay = nn.Parameter(torch.empty(word.width, dtype=dtype))
        self.bonus = nn.Parameter(torch.empty(word.width, dtype=dtype))

    def forward(self, x_BSN: Tensor, inputs: LayerInputs, state: State) -> tuple[Tensor, dict[str, Tensor]]:
        """[B, S, N] → [B, S, N], and the new state; it is empty if `state` is."""
        shifted = self.shift(x_BSN, state.get("recurrence.shift"))
        present = tail_state(x_BSN, state, "recurrence.shift", inputs.lengths_B)
        r, k, v = self.r(shifted["r"]), self.k(shifted["k"]), self.v(shifted["v"])
        k, batch = k.float(), x_BSN.shape[0]
        past = state["recurrence.state"] if state else k.new_zeros(batch, 3, self.word.width)
        log_decay = inputs.mask_padding((-self.decay.float().exp()).expand_as(k))
        key = k if inputs.real_BS1 is None else k * inputs.real_BS1 + (1.0 - inputs.real_BS1) * LOG_ZERO
        average, new = recurrences.decayed_average(key, k + self.bonus.float(), log_decay, v.float(), past)
        if state:
            present["recurrence.state"] = new
        return self.o(r.sigmoid() * average.to(x_BSN.dtype)), present
