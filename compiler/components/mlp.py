"""The position-wise branch; one module a kind of `archspec.vocabulary.mlp`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from archspec import vocabulary as words
from compiler.components.linear import Linear


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """The element-wise function of an `Activation` word (Hendrycks & Gimpel 2016 for the GELUs)."""
    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "silu": nn.functional.silu,
        "relu": nn.functional.relu,
        "gelu": nn.functional.gelu,
        "relu2": lambda x: nn.functional.relu(x).square(),
        "gelu_tanh": lambda x: nn.functional.gelu(x, approximate="tanh"),
    }
    return functions[name]


class PlainMlp(nn.Module):
    """down(act(up(x)))."""

    def __init__(self, word: words.PlainMlp, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.up = Linear(width, word.width, word.bias, dtype)
        self.down = Linear(word.width, width, word.bias, dtype)
        self.activation = activation(word.activation)

    def forward(self, x: Tensor) -> Tensor:
        """[B, S, width] → [B, S, width]."""
        return self.down(self.activation(self.up(x)))


class GatedMlp(nn.Module):
    """down(act(gate(x)) · up(x)) (Shazeer 2020)."""

    def __init__(self, word: words.GatedMlp, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.gate = Linear(width, word.width, word.bias, dtype)
        self.up = Linear(width, word.width, word.bias, dtype)
        self.down = Linear(word.width, width, word.bias, dtype)
        self.activation = activation(word.activation)

    def forward(self, x: Tensor) -> Tensor:
        """[B, S, width] → [B, S, width]."""
        return self.down(self.activation(self.gate(x)) * self.up(x))


def make_mlp(word: words.PlainMlp | words.GatedMlp, width: int, dtype: torch.dtype) -> nn.Module:
    """The module of an MLP word for a residual stream of the given width."""
    match word:
        case words.PlainMlp():
            return PlainMlp(word, width, dtype)
        case words.GatedMlp():
            return GatedMlp(word, width, dtype)
