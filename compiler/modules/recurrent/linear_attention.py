"""RWKV-5 and RWKV-6's token mixer: linear attention with a decay for each key channel (Peng et al. 2024, section 4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.contract.state import State
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.modules.basic.low_rank import LowRank
from archc.compiler.modules.basic.shift import tail_state
from archc.compiler.modules.layer_inputs import LayerInputs
from archc.compiler.modules.recurrent.head_norm import HeadNorm
from archc.compiler.modules.recurrent.token_shift import make_shift
from archc.compiler.ops import recurrences


class LinearAttention(nn.Module):
    """o(norm(r · (S + (bonus ⊙ k)ᵀ v)) ⊙ silu(g)), S the decaying sum of kᵀ v; all are of shifted inputs."""

    def __init__(self, word: words.LinearAttention, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.word = word
        channels = word.heads * word.head_dim
        low_rank = isinstance(word.decay, words.LowRankDecay)
        streams = ("w", "k", "v", "r", "g") if low_rank else ("k", "v", "r", "g")
        self.shift = make_shift(word.shift, streams, width, dtype)
        self.r, self.k, self.v, self.g = (Linear(width, channels, False, dtype) for _ in range(4))
        self.o = Linear(channels, width, False, dtype)
        self.decay: nn.Module | nn.Parameter = nn.Parameter(torch.empty(channels, dtype=dtype))
        if isinstance(word.decay, words.LowRankDecay):
            del self.decay
            self.decay = LowRank(width, word.decay.rank, channels, True, dtype, torch.tanh)
        self.bonus = nn.Parameter(torch.empty(channels, dtype=dtype))
        self.norm = HeadNorm(word.norm, word.heads, channels, dtype)

    def forward(self, x_BSN: Tensor, inputs: LayerInputs, state: State) -> tuple[Tensor, dict[str, Tensor]]:
        """[B, S, N] → [B, S, N], and the new state; it is empty if `state` is."""
        heads, width = self.word.heads, self.word.head_dim
        shifted = self.shift(x_BSN, state.get("recurrence.shift"))
        present = tail_state(x_BSN, state, "recurrence.shift", inputs.lengths_B)
        r, k, v = self.r(shifted["r"]), self.k(shifted["k"]), self.v(shifted["v"])
        exponent = self.decay(shifted["w"]) if isinstance(self.decay, nn.Module) else self.decay.expand_as(k)
        key, log_decay = inputs.mask_padding(k.float()), inputs.mask_padding(-exponent.float().exp())
        past = state["recurrence.state"] if state else key.new_zeros(x_BSN.shape[0], heads, width, width)
        y, new = recurrences.linear_attention(r.float(), key, log_decay, v.float(), past)
        if state:
            present["recurrence.state"] = new
        y = y.to(x_BSN.dtype) + current_value(r * k * self.bonus, v, heads)
        return self.o(self.norm(y) * nn.functional.silu(self.g(shifted["g"]))), present


def current_value(weights_BSM: Tensor, v_BSM: Tensor, heads: int) -> Tensor:
    """Return the share of a position's own values, [B, S, M]: v times the sum of its weights over each head."""
    sum_BSH1 = recurrences.part_heads(weights_BSM, heads).sum(dim=-1, keepdim=True)
    return recurrences.join_heads(recurrences.part_heads(v_BSM, heads) * sum_BSH1)
