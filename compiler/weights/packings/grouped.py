"""Integers with a scale and a zero point for each group of inputs, as GPTQ, AWQ and compressed-tensors store them.

weight[n, k] = (integer[n, k] − zero[n, g(k)]) · scale[n, g(k)], with g(k) = k // group, or a table of groups where the
inputs were ordered by activations (act-order).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

SCALE_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""Dtypes of scales that a plan can store unchanged, by their names in safetensors."""


@dataclass(frozen=True)
class Groups:
    """Some rows of a weight in integers: `integers` uint8 [N, K], `scales` float32 [N, G], `zeros` [N, G] or one."""

    integers: Tensor
    scales: Tensor
    zeros: Tensor | int

    def widen(self, of_input: Tensor) -> Tensor:
        """Return float32 [N, K]; `of_input` [K] is the group of each input."""
        values = self.integers.float()
        values -= self.zeros.float().index_select(1, of_input) if isinstance(self.zeros, Tensor) else self.zeros
        return values.mul_(self.scales.index_select(1, of_input))

    def joined(self) -> Tensor:
        """Return float32 [N, K + 2G]: integers, scales and zero points of each row."""
        zeros = self.zeros if isinstance(self.zeros, Tensor) else torch.full(self.scales.shape, self.zeros)
        return torch.cat((self.integers.float(), self.scales, zeros.float()), -1)


@runtime_checkable
class GroupedTensor(Protocol):
    """A packed weight [N, K] that is stored as integers in groups."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the widened weight."""

    @property
    def bits(self) -> int:
        """The bits of an integer."""

    @property
    def size(self) -> int | None:
        """The number of consecutive inputs in a group; None where groups are not consecutive."""

    @property
    def scale_dtype(self) -> torch.dtype | None:
        """The dtype of the scales."""

    def groups(self, start: int, stop: int) -> Groups:
        """Return rows [start, stop) as they are stored."""

    def zeros(self, start: int, stop: int) -> Tensor | int:
        """Return the zero points of rows [start, stop), or the one of all."""


def consecutive(inputs: int, size: int) -> Tensor:
    """Return the group of each input, `size` of them in a group."""
    return torch.arange(inputs) // size
