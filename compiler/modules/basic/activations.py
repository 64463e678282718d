"""Activations by name, with the one that has parameters (xIELU)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from archc.compiler.ops.activations import activation


class Xielu(nn.Module):
    """p·x² + β·x above zero, n·(e^x − 1 − x) + β·x below, β = 1/2 (Huang & Schlag 2024).

    Both curvatures are learned: p = softplus(alpha_p) and n = β + softplus(alpha_n).
    """

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.alpha_p = nn.Parameter(torch.empty(1, dtype=dtype))
        self.alpha_n = nn.Parameter(torch.empty(1, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Any shape; computed in float32, because e^x − 1 − x cancels for small x."""
        p, n = (nn.functional.softplus(alpha.float()) for alpha in (self.alpha_p, self.alpha_n))
        wide = x.float()
        positive = nn.functional.relu(wide)
        negative = wide - positive
        curves = p * positive * positive + (0.5 + n) * (torch.expm1(negative) - negative)
        return (curves + 0.5 * wide).to(x.dtype)


LEARNED: dict[str, Callable[[torch.dtype], nn.Module]] = {"xielu": Xielu}
"""Activations with parameters of their own, by name; the others are in `archc.compiler.ops.activations`."""


def make_activation(name: str, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """Return the function of an activation word; a module if it has parameters."""
    return LEARNED[name](dtype) if name in LEARNED else activation(name)
