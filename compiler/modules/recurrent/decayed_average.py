"""The decayed average (Peng et al. 2023, RWKV, section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.contract.state import State
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.modules.layer_inputs import Signals
from archc.compiler.modules.recurrent.token_shift import make_shift, new_tail
from archc.compiler.ops import recurrences
from archc.compiler.ops.recurrences.decayed_average import NOTHING


class DecayedAverage(nn.Module):
    """o(sigmoid(r) · average of v weighted by k), with keys, values and gates from shifted inputs."""

    def __init__(self, word: words.DecayedAverage, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.word = word
        self.shift = make_shift(word.shift, ("k", "v", "r"), width, dtype)
        self.r, self.k, self.v = (Linear(width, word.width, False, dtype) for _ in range(3))
        self.o = Linear(word.width, width, False, dtype)
        self.decay = nn.Parameter(torch.empty(word.width, dtype=dtype))
        self.bonus = nn.Parameter(torch.empty(word.width, dtype=dtype))

    @property
    def flops(self) -> int:
        """Operations of one token on the state."""
        return 8 * self.word.width

    def forward(self, x_BSN: Tensor, signals: Signals, state: State) -> tuple[Tensor, dict[str, Tensor]]:
        """[B, S, N] → [B, S, N], and the state after it, for a state that is not empty."""
        inputs = self.shift(x_BSN, state.get("recurrence.shift"))
        present = new_tail(x_BSN, state, "recurrence.shift", signals)
        r, k, v = (project(inputs[name]) for name, project in (("r", self.r), ("k", self.k), ("v", self.v)))
        k, batch = k.float(), x_BSN.shape[0]
        old = state["recurrence.state"] if state else k.new_zeros(batch, 3, self.word.width)
        log_decay = signals.only_real((-self.decay.float().exp()).expand_as(k))
        key = k if signals.real_BS1 is None else k * signals.real_BS1 + (1.0 - signals.real_BS1) * NOTHING
        average, new = recurrences.decayed_average(key, k + self.bonus.float(), log_decay, v.float(), old)
        if state:
            present["recurrence.state"] = new
        return self.o(r.sigmoid() * average.to(x_BSN.dtype)), present
