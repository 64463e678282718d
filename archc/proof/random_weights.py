"""Random weights that make every part of a computation visible in its result."""

from __future__ import annotations

import zlib

import torch
from torch import Tensor, nn


def normal(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """Return standard normal numbers that depend on the name and the seed alone, not on the order of tensors."""
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}:{name}".encode()))
    return torch.randn(shape, generator=generator)


def spread(module: nn.Module, seed: int, gain: float = 0.2, table: float = 0.3, unit_offset: bool = False) -> None:
    """Fill every parameter: biases and norm weights far from their initial values, matrices large enough to matter.

    Args:
        module: The module to fill.
        seed: Chooses the numbers, together with each parameter's name.
        gain: Standard deviation of matrices.
        table: Standard deviation of embedding tables.
        unit_offset: Norm weights are stored as differences from one.
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


def fill_zero_buffers(module: nn.Module, seed: int) -> None:
    """Replace stored buffers of zeros, such as selection biases of routers, by parameters with random numbers."""
    stored = module.state_dict().keys()
    for name, buffer in list(module.named_buffers()):
        if name in stored and buffer.is_floating_point() and not buffer.any():
            owner, _, own_name = name.rpartition(".")
            del module.get_submodule(owner)._buffers[own_name]
            value = nn.Parameter(0.5 * normal(name, tuple(buffer.shape), seed))
            module.get_submodule(owner).register_parameter(own_name, value)
