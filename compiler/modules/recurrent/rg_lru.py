"""Griffin's token mixer: a real-gated linear recurrent unit (De et al. 2024, section 2.4).

Shape suffixes as in `archc.compiler.ops.operators`, and: I channels, H blocks of D channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.contract.state import State
from archc.compiler.modules.basic.activations import make_activation
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.modules.basic.shift import shift, tail_state
from archc.compiler.modules.layer_inputs import LayerInputs
from archc.compiler.modules.recurrent.convolution import DepthwiseConvolution
from archc.compiler.ops import recurrences

# Lower bound of the recurrence gate, a divisor; a sigmoid is less for logits below −69 only.
_LEAST = 1e-30


class BlockLinear(nn.Module):
    """x · weight + bias for each block of channels, weight [H, D, D], bias [H · D]."""

    def __init__(self, width: int, blocks: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.blocks = blocks
        self.weight = nn.Parameter(torch.empty(blocks, width // blocks, width // blocks, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(width, dtype=dtype))

    def forward(self, x_BSI: Tensor) -> Tensor:
        """[B, S, I] → [B, S, I]."""
        batch, seq, width = x_BSI.shape
        x_HMD = x_BSI.reshape(batch * seq, self.blocks, width // self.blocks).permute(1, 0, 2)
        y_HMD = torch.bmm(x_HMD, self.weight)
        return y_HMD.permute(1, 0, 2).reshape(batch, seq, width) + self.bias


class RgLru(nn.Module):
    """o(lru(convolution(x(u))) ⊙ act(gate(u))), lru: h[t] = a ⊙ h[t−1] + sqrt(1 − a²) ⊙ i ⊙ x[t], a = exp(−c r Λ)."""

    def __init__(self, word: words.RgLru, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.word = word
        self.x, self.gate = (Linear(width, word.width, word.bias, dtype) for _ in range(2))
        self.convolution = DepthwiseConvolution(word.convolution.kernel, word.width, word.convolution.bias, dtype)
        self.input_gate, self.recurrence_gate = (BlockLinear(word.width, word.blocks, dtype) for _ in range(2))
        self.decay = nn.Parameter(torch.empty(word.width, dtype=dtype))
        self.o = Linear(word.width, width, word.bias, dtype)
        self.activation = make_activation(word.activation, dtype)

    def forward(self, u_BSN: Tensor, inputs: LayerInputs, state: State) -> tuple[Tensor, dict[str, Tensor]]:
        """[B, S, N] → [B, S, N], and the new state; it is empty if `state` is."""
        raw = self.x(u_BSN)
        x = self.convolution(raw, state.get("recurrence.input"))
        i, r = self.input_gate(x).float().sigmoid(), self.recurrence_gate(x).float().sigmoid().clamp(min=_LEAST)
        rate_I = -self.word.rate * nn.functional.softplus(self.decay.float())
        # The first input of a sequence is not scaled, so that the state has its size from the beginning.
        ones = torch.ones_like(raw[..., :1])
        follows = shift(ones, state.get("recurrence.begun")).float()
        size = (1 - follows) + follows * (1 - (2 * rate_I * r).exp()).sqrt()
        # The scan multiplies its input by the step, which the gate r is here; a step of zero keeps the state.
        one_BS1, past = follows * 0 + 1, state.get("recurrence.state")
        if past is None:
            past = size.new_zeros(u_BSN.shape[0], 1, self.word.width)
        value = size * i * x.float() / r
        y, new = recurrences.selective_scan(value, inputs.mask_padding(r), one_BS1, one_BS1, rate_I[None], past)
        present = tail_state(raw, state, "recurrence.input", inputs.lengths_B)
        present |= tail_state(ones, state, "recurrence.begun", inputs.lengths_B)
        if state:
            present["recurrence.state"] = new
        return self.o(y.to(x.dtype) * self.activation(self.gate(u_BSN))), present
