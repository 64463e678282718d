"""A selective state-space mixer (Gu & Dao 2023, Mamba, section 3.4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.contract.state import State
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.modules.basic.norm import make_norm
from archc.compiler.modules.layer_inputs import Signals
from archc.compiler.ops import operators as ops
from archc.compiler.ops import recurrences
from archc.compiler.ops.activations import activation


class DepthwiseConvolution(nn.Module):
    """y[t] = Σ weight[j] · x[t − K + 1 + j] + bias, channel by channel, with zeros before the first input."""

    def __init__(self, taps: int, width: int, bias: bool, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(taps, width, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(width, dtype=dtype)) if bias else None

    def forward(self, x_BSI: Tensor, tail_BKI: Tensor | None) -> Tensor:
        """[B, S, I] and the K − 1 inputs before them → [B, S, I]."""
        taps = self.weight.shape[0]
        if tail_BKI is None:
            tail_BKI = x_BSI.new_zeros(x_BSI.shape[0], taps - 1, x_BSI.shape[2])
        whole = torch.cat((tail_BKI, x_BSI), dim=1)
        # Ends are counted from the back, so that they do not depend on the length of the call.
        parts = [whole[:, j : (j - taps + 1) or None] * self.weight[j : j + 1] for j in range(taps)]
        y = sum(parts[1:], parts[0])
        return y if self.bias is None else y + self.bias


def last_inputs(x_BSI: Tensor, tail_BKI: Tensor, lengths_B: Tensor) -> Tensor:
    """The tail for the next call: each row's last K − 1 inputs, of the old tail where the call has too few."""
    places = lengths_B[:, None] + torch.arange(tail_BKI.shape[1], device=lengths_B.device)
    return ops.take_positions(torch.cat((tail_BKI, x_BSI), dim=1), places)


class SelectiveScan(nn.Module):
    """output(scan(act(convolution(x))) · act(z)), where x and z are projections of the input."""

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
        self.activation = activation(word.activation)

    @property
    def flops(self) -> int:
        """Operations of one token on the state, and of the convolution."""
        return (7 * self.word.state + 2 * self.word.kernel) * self.word.width

    def forward(self, x_BSN: Tensor, signals: Signals, state: State) -> tuple[Tensor, dict[str, Tensor]]:
        """[B, S, N] → [B, S, N], and the state after it, for a state that is not empty."""
        word = self.word
        raw, z = self.input(x_BSN).split(word.width, dim=-1)
        x = self.activation(self.convolution(raw, state.get("recurrence.input")))
        inner = self.inner(x).split([word.step_rank, word.state, word.state], dim=-1)
        rank, b, c = (norm(part) for norm, part in zip((self.step_norm, self.b_norm, self.c_norm), inner, strict=True))
        # Without a step, nothing decays and nothing comes in.
        step = signals.only_real(nn.functional.softplus(self.step(rank).float()))
        old = state["recurrence.state"] if state else step.new_zeros(x.shape[0], word.state, word.width)
        decay = -self.decay_log.float().exp()
        y, new = recurrences.selective_scan(x.float(), step, b.float(), c.float(), decay, old)
        present = {}
        if state:
            assert signals.lengths_B is not None
            present["recurrence.input"] = last_inputs(raw, state["recurrence.input"], signals.lengths_B)
            present["recurrence.state"] = new
        return self.output((y.to(x.dtype) + x * self.skip) * self.activation(z)), present
