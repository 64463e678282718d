"""Small modules and inputs with numbers that can be checked by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn


def column(*values: float) -> Tensor:
    """One sequence of one channel: [1, S, 1]."""
    return torch.tensor([[[float(value)] for value in values]])


def filled(module: nn.Module, values: Mapping[str, Sequence[Any]]) -> nn.Module:
    """The module with these parameters, which must be all that it has."""
    module.load_state_dict({name: torch.tensor(value) for name, value in values.items()})
    return module


def random_parameters(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module with normal numbers in every parameter."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
    return module.eval()
