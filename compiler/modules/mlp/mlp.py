"""The position-wise branch; one module a kind of `archc.archspec.vocabulary.mlp`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.modules.mlp.experts import Experts, Router
from archc.compiler.ops.activations import activation as plain_activation
from archc.compiler.ops.activations import gated


class Xielu(nn.Module):
    """p·x² + β·x above zero, n·(e^x − 1 − x) + β·x below, β = 1/2 (Huang & Schlag 2024).

    The two curvatures are learned as p = softplus(alpha_p) and n = β + softplus(alpha_n).
    """

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.alpha_p = nn.Parameter(torch.empty(1, dtype=dtype))
        self.alpha_n = nn.Parameter(torch.empty(1, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Any shape, computed in float32: e^x − 1 − x cancels where x is small."""
        p, n = (nn.functional.softplus(alpha.float()) for alpha in (self.alpha_p, self.alpha_n))
        wide = x.float()
        above = nn.functional.relu(wide)
        below = wide - above
        curves = p * above * above + (0.5 + n) * (torch.expm1(below) - below)
        return (curves + 0.5 * wide).to(x.dtype)


def activation(name: str, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """The function of an `Activation` word; a module where it learns."""
    return Xielu(dtype) if name == "xielu" else plain_activation(name)


class PlainMlp(nn.Module):
    """down(act(up(x)))."""

    def __init__(self, word: words.PlainMlp, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.up = Linear(width, word.width, word.bias, dtype)
        self.down = Linear(word.width, width, word.bias, dtype)
        self.activation = activation(word.activation, dtype)

    def forward(self, x: Tensor) -> Tensor:
        """[B, S, width] → [B, S, width]."""
        return self.down(self.activation(self.up(x)))


class GatedMlp(nn.Module):
    """down(act(gate(x)) · up(x)) (Shazeer 2020), clamped, with a beta and an offset where the word says so."""

    def __init__(self, word: words.GatedMlp, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.gate = Linear(width, word.width, word.bias, dtype)
        self.up = Linear(width, word.width, word.bias, dtype)
        self.down = Linear(word.width, width, word.bias, dtype)
        self.word = word
        self.learned = Xielu(dtype) if word.activation == "xielu" else None

    def forward(self, x: Tensor) -> Tensor:
        """[B, S, width] → [B, S, width]."""
        word = self.word
        if self.learned is not None:
            return self.down(self.learned(self.gate(x)) * self.up(x))
        options = (word.beta or 0.0, word.limit or 0.0, word.up_offset or 0.0)
        return self.down(gated(self.gate(x), self.up(x), word.activation, *options))


class MoeMlp(nn.Module):
    """A token's chosen experts, weighted, and what every token passes (Shazeer et al. 2017; Dai et al. 2024)."""

    def __init__(self, word: words.MoeMlp, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.router = Router(word, width)
        self.experts = Experts(word, width, dtype)
        self.shared = make_mlp(word.shared, width, dtype) if word.shared is not None else None
        self.shared_gate = Linear(width, 1, False, dtype) if word.shared_gate else None

    def forward(self, x: Tensor) -> Tensor:
        """[B, S, width] → [B, S, width]."""
        y = self.experts(x, *self.router(x))
        if self.shared is None:
            return y
        always = self.shared(x)
        return y + (always if self.shared_gate is None else self.shared_gate(x).sigmoid() * always)


def make_mlp(word: words.PlainMlp | words.GatedMlp | words.MoeMlp, width: int, dtype: torch.dtype) -> nn.Module:
    """The module of an MLP word for a residual stream of the given width."""
    match word:
        case words.PlainMlp():
            return PlainMlp(word, width, dtype)
        case words.GatedMlp():
            return GatedMlp(word, width, dtype)
        case words.MoeMlp():
            return MoeMlp(word, width, dtype)
