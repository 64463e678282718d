"""Random weights under which every part of a computation shows in its result."""

from __future__ import annotations

import zlib

import torch
from torch import Tensor, nn


def normal(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """Standard normal numbers that depend on the name and the seed alone, not on the order of tensors."""
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}:{name}".encode()))
    return torch.randn(shape, generator=generator)


def spread(module: nn.Module, seed: int, gain: float = 0.2, table: float = 0.3, unit_offset: bool = False) -> None:
    """Fills every parameter: biases and norm weights far from their usual values, matrices large enough to matter.

    `unit_offset` is for norms that store their weight as a difference from one.
    """
    tables = {id(part.weight) for part in module.modules() if isinstance(part, nn.Embedding)}
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            value = normal(name, tuple(parameter.shape), seed)
            if parameter.ndim == 1 and name.endswith("weight"):
                parameter.copy_(0.3 * value + (0.0 if unit_offset else 1.0))
            elif parameter.ndim == 1:
                parameter.copy_(0.3 * value)
            else:
                parameter.copy_(value * (table if id(parameter) in tables else gain))
