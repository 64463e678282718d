"""MXFP4: blocks of 32 E2M1 numbers with a shared power of two (OCP Microscaling Formats 1.0, sections 5.1 to 5.4).

`x_blocks` uint8 [E, N, K/32, 16] holds two numbers in a byte, the first in the low half; `x_scales` uint8 [E, N, K/32]
holds exponents with a bias of 127. A stack is presented as `x` [E, K, N], as the unquantized checkpoint stores it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from archc.archspec.errors import clip as clipped
from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.weights import Weights
from archc.compiler.weights.packings.packing import PackedTensor, expect_shape

_BLOCKS, _SCALES = "_blocks", "_scales"
_BLOCK, _BIAS = 32, 127
# E2M1 by its bits: a sign, two bits of exponent, one of mantissa.
_MAGNITUDES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_NUMBERS = torch.tensor([*_MAGNITUDES, *(-magnitude for magnitude in _MAGNITUDES)])


@dataclass(frozen=True)
class Mxfp4Stack:
    """A stack of matrices in blocks of E2M1 numbers."""

    weights: Weights
    name: str

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape [E, K, N] of the widened stack."""
        count, rows, blocks, _ = self.weights.shape(self.name + _BLOCKS)
        return count, blocks * _BLOCK, rows

    @property
    def parts(self) -> tuple[str, ...]:
        """The blocks and their exponents."""
        return self.name + _BLOCKS, self.name + _SCALES

    def rows(self, start: int, stop: int) -> Tensor:
        """Return matrices [start, stop) in float32, one at a time; each is transposed."""
        matrices = torch.empty((stop - start, *self.shape[1:]))
        for index in range(start, stop):
            matrices[index - start] = self._matrix(index).t()
        return matrices

    def _matrix(self, index: int) -> Tensor:
        """Return one matrix [N, K]."""
        blocks = self.weights.read(self.name + _BLOCKS, (index,))
        exponents = self.weights.read(self.name + _SCALES, (index,)).int() - _BIAS
        numbers = torch.stack((_NUMBERS[(blocks & 15).int()], _NUMBERS[(blocks >> 4).int()]), -1).flatten(-2)
        return torch.ldexp(numbers, exponents.unsqueeze(-1)).flatten(-2)


def find_mxfp4(weights: Weights, config: Mapping[str, Any]) -> dict[str, PackedTensor]:
    """Return the stacks that are stored as `_blocks` and `_scales`."""
    found: dict[str, PackedTensor] = {}
    for blocks in weights.names():
        if not blocks.endswith(_BLOCKS) or weights.dtype(blocks) != "U8":
            continue
        name, shape = blocks.removesuffix(_BLOCKS), tuple(weights.shape(blocks))
        if len(shape) != 4 or shape[-1] != _BLOCK // 2:
            raise BuildError(
                f"tensor '{clipped(blocks)}' has shape {list(shape)}, expected [experts, rows, blocks, {_BLOCK // 2}]"
            )
        expect_shape(weights, name + _SCALES, shape[:3], name)
        if weights.dtype(name + _SCALES) != "U8":
            raise BuildError(f"tensor '{clipped(name + _SCALES)}': expected exponents in uint8")
        found[name] = Mxfp4Stack(weights, name)
    return found
