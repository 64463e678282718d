"""Random weights in place of a checkpoint: the same seed gives the same numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from archc.compiler.weights.lazy import RowSource

_STANDARD_DEVIATION = 0.02  # Radford et al. 2019


class RandomWeights:
    """Slots with normally distributed matrices, biases of zero, and norm weights that have no effect."""

    def __init__(self, slots: Mapping[str, tuple[int, ...]], seed: int, unit_offset: Collection[str] = ()) -> None:
        self.slots, self.seed, self.unit_offset = slots, seed, unit_offset

    def names(self) -> Collection[str]:
        """Return the names of all slots."""
        return self.slots.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a slot."""
        return self.slots[name]

    def open(self, name: str) -> Tensor:
        """Return a slot's tensor: there is no file whose rows could be read one by one."""
        return self.read(name)

    def read(self, name: str) -> Tensor:
        """Return a slot's tensor in float32, which depends on the seed and the slot's name alone."""
        shape = self.slots[name]
        if name.endswith("bias") or name in self.unit_offset:
            return torch.zeros(shape)
        if len(shape) == 1:
            return torch.ones(shape)
        generator = torch.Generator().manual_seed(_hash(name, self.seed))
        return torch.randn(shape, generator=generator) * _STANDARD_DEVIATION

    def find_groups(self, name: str) -> None:
        """Return None: random weights are not stored in groups of integers."""

    def open_stored(self, name: str) -> RowSource:
        """Raise ValueError: no slot has groups."""
        raise ValueError(f"{name} is not stored in groups of integers")


def _hash(name: str, seed: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "big") >> 1
