"""Token mixer with a matrix state for each head: gated DeltaNet, KDA, Mamba-2, lightning attention.

Shape suffixes as in `archc.compiler.ops.recurrences`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.contract.state import State
from archc.compiler.modules.basic.activations import make_activation
from archc.compiler.modules.basic.linear import Linear, scaled
from archc.compiler.modules.basic.norm import make_norm
from archc.compiler.modules.basic.shift import tail_state
from archc.compiler.modules.layer_inputs import LayerInputs
from archc.compiler.modules.recurrent.convolution import JoinedConvolution
from archc.compiler.modules.recurrent.decay import BoundedDecay, FixedDecay, StepDecay
from archc.compiler.modules.recurrent.output import GatedOutput
from archc.compiler.ops import recurrences
from archc.compiler.ops.operators import rms_norm


class L2Norm(nn.Module):
    """x · rsqrt(Σ x² + eps): an RMS norm without a weight, times 1 / sqrt(width)."""

    def __init__(self, word: words.L2Norm, width: int) -> None:
        super().__init__()
        self.eps, self.width = word.eps, width

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] → [..., width]."""
        weight = torch.full((self.width,), self.width**-0.5, dtype=x.dtype, device=x.device)
        return rms_norm(x, weight, self.eps / self.width)


class MatrixState(nn.Module):
    """o(output(q · S + skip ⊙ v)), S with a decay and updated by addition or the delta rule."""

    def __init__(self, word: words.MatrixState, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.word = word
        self.key_heads = word.key_heads or word.heads
        self.q, self.k = (Linear(width, word.keys, word.bias, dtype) for _ in range(2))
        self.v = Linear(width, word.values, word.bias, dtype)
        output_bias = word.bias if word.output_bias is None else word.output_bias
        self.o = Linear(word.values, width, output_bias, dtype)
        self.convolution: JoinedConvolution | None = None
        if word.convolution is not None:
            widths = {"q": word.keys, "k": word.keys, "v": word.values}
            self.convolution = JoinedConvolution(word.convolution, widths, dtype)
        self.activation = make_activation(word.activation, dtype) if word.activation is not None else None
        self.q_norm, self.k_norm = (self.make_qk_norm(word, dtype) for _ in range(2))
        self.decay = make_decay(word, width, dtype)
        self.rate = Linear(width, word.heads, word.bias, dtype) if word.update == "delta" else None
        self.skip = nn.Parameter(torch.empty(word.heads, dtype=dtype)) if word.skip else None
        self.output = GatedOutput(word, width, dtype)

    @staticmethod
    def make_qk_norm(word: words.MatrixState, dtype: torch.dtype) -> nn.Module:
        """Return the norm on each head of queries or keys."""
        if isinstance(word.qk_norm, words.L2Norm):
            return L2Norm(word.qk_norm, word.key_dim)
        return make_norm(word.qk_norm, word.key_dim, dtype)

    def forward(self, x_BSN: Tensor, inputs: LayerInputs, state: State) -> tuple[Tensor, dict[str, Tensor]]:
        """[B, S, N] → [B, S, N], and the new state; it is empty if `state` is."""
        word, scales, present = self.word, self.word.scales, {}
        x_BSN = scaled(x_BSN, word.input_scale)
        streams = ((self.q, scales.queries), (self.k, scales.keys), (self.v, scales.values))
        qkv = torch.cat([scaled(projection(x_BSN), scale) for projection, scale in streams], dim=-1)
        if self.convolution is not None:
            present = tail_state(qkv, state, "recurrence.input", inputs.lengths_B)
            qkv = self.convolution(qkv, state.get("recurrence.input"))
        if self.activation is not None:
            qkv = self.activation(qkv)
        q, k, v = qkv.split([word.keys, word.keys, word.values], dim=-1)
        q, k = self.by_head(self.q_norm, q).float(), self.by_head(self.k_norm, k).float()
        log_decay, step = self.decay(x_BSN)
        values = v.float() if step is None else scale_heads(v.float(), step)
        rate = None
        if self.rate is not None:
            rate = inputs.mask_padding(word.rate_scale * self.rate(x_BSN).float().sigmoid())
        past = state.get("recurrence.state")
        if past is None:
            past = values.new_zeros(x_BSN.shape[0], word.heads, word.key_dim, word.value_dim)
        y, new = recurrences.matrix_state(
            q * word.scale if word.scale != 1 else q,
            inputs.mask_padding(k),
            inputs.mask_padding(log_decay),
            values,
            rate,
            past,
        )
        if state:
            present["recurrence.state"] = new
        y = y.to(x_BSN.dtype)
        if self.skip is not None:
            y = y + scale_heads(v, self.skip)
        return scaled(self.o(self.output(y, x_BSN)), word.output_scale), present

    def by_head(self, norm: nn.Module, x_BSM: Tensor) -> Tensor:
        """Return queries or keys [B, S, M] with each head normalized."""
        if isinstance(norm, nn.Identity):
            return x_BSM
        return recurrences.join_heads(norm(recurrences.part_heads(x_BSM, self.key_heads)))


def make_decay(word: words.MatrixState, width: int, dtype: torch.dtype) -> nn.Module:
    """Return the module of a word's decay."""
    match word.decay:
        case words.StepDecay():
            return StepDecay(word, word.decay, width, dtype)
        case words.BoundedDecay():
            return BoundedDecay(word, word.decay, width, dtype)
        case words.FixedDecay():
            return FixedDecay(word.decay, word.heads)


def scale_heads(x_BSM: Tensor, factors: Tensor) -> Tensor:
    """Return x with each head times its own factor, [B, S, M]; factors [H] or [B, S, H]."""
    x_BSHD = recurrences.part_heads(x_BSM, factors.shape[-1])
    return recurrences.join_heads(x_BSHD * factors.unsqueeze(-1))
