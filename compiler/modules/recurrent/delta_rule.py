"""The delta rule with a decay by key channel and values of an earlier layer (Peng et al. 2025, RWKV-7, section 4)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.contract.state import State
from archc.compiler.modules.attention.head_norm import HeadNorm
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.modules.layer_inputs import Signals
from archc.compiler.modules.recurrent.linear_attention import own_share
from archc.compiler.modules.recurrent.low_rank import LowRank
from archc.compiler.modules.recurrent.token_shift import make_shift, new_tail
from archc.compiler.ops import recurrences

VALUES = "values"
# The least length that a key is divided by.
_SHORTEST = 1e-12


class DeltaRule(nn.Module):
    """o((norm(r · S) + own share) · gate), S by the delta rule."""

    def __init__(self, word: words.DeltaRule, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.word = word
        channels = word.heads * word.head_dim
        self.shift = make_shift(word.shift, ("r", "w", "k", "v", "a", "g"), width, dtype)
        self.r, self.k, self.v = (Linear(width, channels, False, dtype) for _ in range(3))
        self.o = Linear(channels, width, False, dtype)
        self.decay = LowRank(width, word.decay_rank, channels, True, dtype, torch.tanh)
        self.rate = LowRank(width, word.rate_rank, channels, True, dtype)
        self.gate = LowRank(width, word.gate_rank, channels, False, dtype, torch.sigmoid)
        taken = word.value_residual
        rank = taken.rank if isinstance(taken, words.ValueMix) else None
        self.value_gate = LowRank(width, rank, channels, True, dtype) if rank is not None else None
        self.key_scale = nn.Parameter(torch.empty(channels, dtype=dtype))
        self.key_rate = nn.Parameter(torch.empty(channels, dtype=dtype))
        self.bonus = nn.Parameter(torch.empty(channels, dtype=dtype))
        self.norm = HeadNorm(word.norm, word.heads, channels, dtype)

    @property
    def flops(self) -> int:
        """Operations of one token on the state: its decay, what it unlearns and takes in, and what is read."""
        return 9 * self.word.heads * self.word.head_dim**2

    def forward(self, x_BSN: Tensor, signals: Signals, state: State) -> tuple[Tensor, dict[str, Tensor]]:
        """[B, S, N] → [B, S, N], and what it gives: values, and the state after it where that is not empty."""
        heads, width = self.word.heads, self.word.head_dim
        inputs = self.shift(x_BSN, state.get("recurrence.shift"))
        present = new_tail(x_BSN, state, "recurrence.shift", signals)
        r, k, v = self.r(inputs["r"]), self.k(inputs["k"]), self.v(inputs["v"])
        if self.value_gate is not None:
            v = v + (signals.given[VALUES] - v) * self.value_gate(inputs["v"]).sigmoid()
        if isinstance(self.word.value_residual, words.ValueSource):
            present[VALUES] = v
        rate = self.rate(inputs["a"]).sigmoid()
        direction = self.directions((k * self.key_scale).float())
        k = k * (1.0 + (rate - 1.0) * self.key_rate)
        log_decay = -math.exp(-0.5) * self.decay(inputs["w"]).float().sigmoid()
        taken_in, unlearned = signals.only_real(k.float()), signals.only_real(direction * rate.float())
        old = state["recurrence.state"] if state else taken_in.new_zeros(x_BSN.shape[0], heads, width, width)
        log_decay = signals.only_real(log_decay)
        y, new = recurrences.delta_rule(r.float(), taken_in, log_decay, -direction, unlearned, v.float(), old)
        if state:
            present["recurrence.state"] = new
        y = self.norm(y.to(x_BSN.dtype)) + own_share(r * k * self.bonus, v, heads)
        return self.o(y * self.gate(inputs["g"])), present

    def directions(self, k_BSM: Tensor) -> Tensor:
        """Each head's key, of length one."""
        parted = recurrences.part_heads(k_BSM, self.word.heads)
        length = parted.square().sum(dim=-1, keepdim=True).sqrt()
        return recurrences.join_heads(parted / length.clamp(min=_SHORTEST))
