"""Linear attention with a decay by key channel (Peng et al. 2024, Eagle and Finch, section 4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.contract.state import State
from archc.compiler.modules.attention.head_norm import HeadNorm
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.modules.layer_inputs import Signals
from archc.compiler.modules.recurrent.low_rank import LowRank
from archc.compiler.modules.recurrent.token_shift import make_shift, new_tail
from archc.compiler.ops import recurrences


class LinearAttention(nn.Module):
    """o(norm(r · (S + (bonus ⊙ k)ᵀ v)) · silu(g))."""

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

    @property
    def flops(self) -> int:
        """Operations of one token on the state: its decay, what comes in, and what is read."""
        return 5 * self.word.heads * self.word.head_dim**2

    def forward(self, x_BSN: Tensor, signals: Signals, state: State) -> tuple[Tensor, dict[str, Tensor]]:
        """[B, S, N] → [B, S, N], and the state after it, for a state that is not empty."""
        heads, width = self.word.heads, self.word.head_dim
        inputs = self.shift(x_BSN, state.get("recurrence.shift"))
        present = new_tail(x_BSN, state, "recurrence.shift", signals)
        r, k, v = self.r(inputs["r"]), self.k(inputs["k"]), self.v(inputs["v"])
        exponent = self.decay(inputs["w"]) if isinstance(self.decay, nn.Module) else self.decay.expand_as(k)
        kept, log_decay = signals.only_real(k.float()), signals.only_real(-exponent.float().exp())
        old = state["recurrence.state"] if state else kept.new_zeros(x_BSN.shape[0], heads, width, width)
        y, new = recurrences.linear_attention(r.float(), kept, log_decay, v.float(), old)
        if state:
            present["recurrence.state"] = new
        y = y.to(x_BSN.dtype) + own_share(r * k * self.bonus, v, heads)
        return self.o(self.norm(y) * nn.functional.silu(self.g(inputs["g"]))), present


def own_share(weights_BSM: Tensor, v_BSM: Tensor, heads: int) -> Tensor:
    """What a position adds of its own values: v times the sum of a head's weights."""
    share = recurrences.part_heads(weights_BSM, heads).sum(dim=-1, keepdim=True)
    return recurrences.join_heads(recurrences.part_heads(v_BSM, heads) * share)
