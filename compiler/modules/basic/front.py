"""The input of a front block, and the projection of its output to the input of the recurrence."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.modules.basic.norm import make_norm


class Front(nn.Module):
    """norm([x, e]) for the block, and x + W y for the recurrence.

    Layers of one weight set share the norm; each has a projection W of its own.
    """

    def __init__(self, norm: words.PlacedNorm, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.norm = make_norm(norm, 2 * width, dtype)
        self.projection = Linear(width, width, False, dtype)

    def enter(self, x_BSN: Tensor, embedded_BSN: Tensor) -> Tensor:
        """Return the input of the block's attention, [B, S, 2 · N]."""
        y: Tensor = self.norm(torch.cat((x_BSN, embedded_BSN), dim=-1))
        return y

    def leave(self, x_BSN: Tensor, y_BSN: Tensor) -> Tensor:
        """Return the input of the recurrence's norm, [B, S, N]."""
        return x_BSN + self.projection(y_BSN)


def share_front(layer: nn.Module, other: nn.Module) -> None:
    """Make a layer's front block that of another, except for its projection and its adapters."""
    for name, parameter in other.named_parameters():
        path, _, last = name.rpartition(".")
        if is_of_front(name):
            setattr(layer.get_submodule(path), last, parameter)


def is_of_front(name: str) -> bool:
    """Return whether a parameter of a layer belongs to a front block that several layers share."""
    parts = name.split(".")
    return (parts[0] in ("attention", "mlp", "mlp_norm") or parts[:2] == ["front", "norm"]) and "adapter" not in parts
