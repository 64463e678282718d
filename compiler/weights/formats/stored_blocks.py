"""int4 blocks as a checkpoint stores them: its integers, scales and zero points, for MatMulNBits.

weight = (integer − zero point) · scale. Rows come as integers [K], scales [G] and zero points [G], one after another; a
block of the format is a group of the checkpoint, or a part of one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx_ir as ir
import torch
from torch import Tensor

from archc.compiler.contract.dtypes import torch_dtype
from archc.compiler.weights.formats.blocks import BlockFormat, block_size
from archc.compiler.weights.formats.format import Part, pack
from archc.compiler.weights.lazy import WeightTensor

#: The zero point of symmetric quantization, which kernels assume without others.
MIDDLE = 8


@dataclass(frozen=True)
class StoredGroups:
    """The groups of a slot that a checkpoint stores in 4 bits: inputs per group, and the dtype of their scales."""

    size: int
    scale_dtype: torch.dtype
    symmetric: bool


FindGroups = Callable[[str], StoredGroups | None]
"""Returns the groups of a slot, or None if it is not stored in groups of 4-bit integers."""


@dataclass(frozen=True)
class StoredBlocks(BlockFormat):
    """Blocks of integers that are not quantized again; groups of `group` inputs, zero points if not `symmetric`."""

    group: int = 0
    symmetric: bool = True

    @classmethod
    def of(cls, weight: WeightTensor, find_groups: FindGroups) -> StoredBlocks | None:
        """Return the format that holds a weight as its slots are stored; None if blocks cannot, or would round."""
        parts = weight.in_parts()
        groups = [find_groups(part.slot) if not part.steps else None for part in parts]
        first = groups[0]
        if first is None or any(each is None or each.size != first.size for each in groups):
            return None
        block, columns = block_size(first.size), weight.sizes[-1]
        dtype = torch_dtype(weight.dtype)
        exact = all(each is not None and torch.promote_types(each.scale_dtype, dtype) == dtype for each in groups)
        if block is None or columns % first.size or not exact:
            return None
        return cls(4, block, False, first.size, all(each is not None and each.symmetric for each in groups))

    def parts(self, weight: WeightTensor) -> Mapping[str, Part]:
        """Return `integers` and `scales` as of all blocks, and `zeros` [N, K/block / 2] of asymmetric ones."""
        parts = dict(super().parts(weight))
        if not self.symmetric:
            parts["zeros"] = Part(".int4.zero", ir.DataType.UINT8, (-(-weight.sizes[-1] // self.block) + 1 >> 1,))
        return parts

    def quantize(self, rows_NK: Tensor, dtype: torch.dtype) -> Mapping[str, Tensor]:
        """Return the parts of rows [N, K + 2G] of integers, scales and zero points."""
        columns = rows_NK.shape[-1] * self.group // (self.group + 2)
        count = columns // self.group
        integers, scales, zeros = rows_NK.split([columns, count, count], -1)
        repeats = self.group // self.block
        values = {
            "integers": pack(integers.to(torch.uint8), 4).reshape(len(integers), columns // self.block, -1),
            "scales": scales.repeat_interleave(repeats, -1).to(dtype),
        }
        if not self.symmetric:
            zeros = zeros.to(torch.uint8).repeat_interleave(repeats, -1)
            values["zeros"] = pack(torch.nn.functional.pad(zeros, (0, zeros.shape[-1] % 2)), 4)
        return values
