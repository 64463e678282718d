"""RWKV-7's token mixer: the delta rule with a decay for each key channel (Peng et al. 2025, section 4)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.contract.cross_layer import VALUES
from archc.compiler.contract.state import State
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.modules.basic.low_rank import LowRank
from archc.compiler.modules.basic.shift import tail_state
from archc.compiler.modules.layer_inputs import LayerInputs
from archc.compiler.modules.recurrent.head_norm import HeadNorm
from archc.compiler.modules.recurrent.linear_attention import current_value
from archc.compiler.modules.recurrent.token_shift import make_shift
from archc.compiler.ops import recurrences

# Lower bound on the length that a key is divided by.
_MIN_LENGTH = 1e-12


class DeltaRule(nn.Module):
    """o((norm(r · S) + (Σ bonus ⊙ r ⊙ k) v) ⊙ gate), S updated by the delta rule; all are of shifted inputs."""

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
        residual = word.value_residual
        rank = residual.rank if isinstance(residual, words.ValueMix) else None
        self.value_gate = LowRank(width, rank, channels, True, dtype) if rank is not None else None
        self.key_scale = nn.Parameter(torch.empty(channels, dtype=dtype))
        self.key_rate = nn.Parameter(torch.empty(channels, dtype=dtype))
        self.bonus = nn.Parameter(torch.empty(channels, dtype=dtype))
        self.norm = HeadNorm(word.norm, word.heads, channels, dtype)

    def forward(self, x_BSN: Tensor, inputs: LayerInputs, state: State) -> tuple[Tensor, dict[str, Tensor]]:
        """[B, S, N] → [B, S, N], and values for later layers; with the new state, if `state` is not empty."""
        heads, width = self.word.heads, self.word.head_dim
        shifted = self.shift(x_BSN, state.get("recurrence.shift"))
        present = tail_state(x_BSN, state, "recurrence.shift", inputs.lengths_B)
        r, k, v = self.r(shifted["r"]), self.k(shifted["k"]), self.v(shifted["v"])
        if self.value_gate is not None:
            v = v + (inputs.cross_layer[VALUES] - v) * self.value_gate(shifted["v"]).sigmoid()
        if isinstance(self.word.value_residual, words.ValueSource):
            present[VALUES] = v
        rate = self.rate(shifted["a"]).sigmoid()
        unit_key = self.unit_keys((k * self.key_scale).float())
        k = k * (1.0 + (rate - 1.0) * self.key_rate)
        log_decay = -math.exp(-0.5) * self.decay(shifted["w"]).float().sigmoid()
        key, removed = inputs.mask_padding(k.float()), inputs.mask_padding(unit_key * rate.float())
        past = state["recurrence.state"] if state else key.new_zeros(x_BSN.shape[0], heads, width, width)
        log_decay = inputs.mask_padding(log_decay)
        y, new = recurrences.delta_rule(r.float(), key, log_decay, -unit_key, removed, v.float(), past)
        if state:
            present["recurrence.state"] = new
        y = self.norm(y.to(x_BSN.dtype)) + current_value(r * k * self.bonus, v, heads)
        return self.o(y * self.gate(shifted["g"])), present

    def unit_keys(self, k_BSM: Tensor) -> Tensor:
        """Return the key of each head divided by its length, [B, S, M]."""
        k_BSHD = recurrences.part_heads(k_BSM, self.word.heads)
        length = k_BSHD.square().sum(dim=-1, keepdim=True).sqrt()
        return recurrences.join_heads(k_BSHD / length.clamp(min=_MIN_LENGTH))
