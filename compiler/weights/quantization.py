"""Former names of the block and channel formats, for passes that still use them."""

from __future__ import annotations

import torch
from torch import Tensor

from archc.compiler.weights.formats import blocks as new
from archc.compiler.weights.formats.blocks import MAX_MULTIPLE as MOST_UNITS
from archc.compiler.weights.formats.blocks import BlockFormat, block_size
from archc.compiler.weights.formats.blocks import row_scales as row_units
from archc.compiler.weights.formats.channels import ChannelFormat
from archc.compiler.weights.formats.format import Bits, QuantizedMatrix, QuantizedTensor, pack
from archc.compiler.weights.lazy import WeightTensor

__all__ = [
    "MOST_UNITS",
    "Bits",
    "BlockCounts",
    "BlockScales",
    "BlockUnits",
    "BlockValues",
    "Blocks",
    "ColumnScales",
    "ColumnValues",
    "block_size",
    "pack",
    "quantize_blocks",
    "row_units",
]


def quantize_blocks(
    rows_NK: Tensor, bits: Bits, block: int, dtype: torch.dtype = torch.float32, units_N1: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """See `formats.blocks.quantize_blocks`."""
    return new.quantize_blocks(rows_NK, bits, block, dtype, units_N1)


class Blocks(QuantizedMatrix):
    """A matrix in BlockFormat."""

    def __init__(self, weight: WeightTensor, bits: Bits, block: int, in_units: bool = False) -> None:
        super().__init__(weight, BlockFormat(bits, block, in_units))

    def _format(self) -> BlockFormat:
        assert isinstance(self.format, BlockFormat)
        return self.format

    @property
    def bits(self) -> Bits:
        """Bits per integer."""
        return self._format().bits

    @property
    def block(self) -> int:
        """Columns per scale."""
        return self._format().block

    @property
    def in_units(self) -> bool:
        """Return whether scales have two levels."""
        return self._format().two_level


class _BlockTensor(QuantizedTensor):
    role_name = ""

    def __init__(self, blocks: Blocks) -> None:
        super().__init__(blocks, self.role_name)
        self.matrix: Blocks = blocks


class BlockValues(_BlockTensor):
    """`integers`."""

    role_name = "integers"


class BlockScales(_BlockTensor):
    """`scales`."""

    role_name = "scales"


class BlockUnits(_BlockTensor):
    """`row_scales`."""

    role_name = "row_scales"


class BlockCounts(_BlockTensor):
    """`multiples`."""

    role_name = "multiples"


class ColumnScales(QuantizedTensor):
    """`scales` of ChannelFormat."""

    def __init__(self, weight: WeightTensor) -> None:
        super().__init__(QuantizedMatrix(weight, ChannelFormat()), "scales")
        self.weight = weight


class ColumnValues(QuantizedTensor):
    """`integers` of ChannelFormat."""

    def __init__(self, weight: WeightTensor) -> None:
        super().__init__(QuantizedMatrix(weight, ChannelFormat()), "integers")
        self.weight = weight
