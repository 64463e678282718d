"""Per-channel quantization to int8: one scale per output channel, for MatMulIntegerToFloat.

weight = integer · scale, without a zero point; the integers are transposed to [in, out] for the kernel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir
import torch
from torch import Tensor

from archc.compiler.weights.formats.blocks import nonzero
from archc.compiler.weights.formats.format import Format, Part
from archc.compiler.weights.lazy import WeightTensor


@dataclass(frozen=True)
class ChannelFormat(Format):
    """int8 with a scale for each of the N outputs: the largest magnitude of its row over 127."""

    def parts(self, weight: WeightTensor) -> Mapping[str, Part]:
        """Return `scales` float32 [N] and `integers` int8 [K, N]."""
        return {
            "scales": Part(".channel.scale", ir.DataType.FLOAT),
            "integers": Part(".channel", ir.DataType.INT8, (weight.sizes[-1],), transposed=True),
        }

    def quantize(self, rows_NK: Tensor, dtype: torch.dtype) -> Mapping[str, Tensor]:
        """Return float32 scales [N] and int8 integers [N, K]."""
        scales = rows_NK.abs().amax(-1) / 127
        steps = rows_NK / nonzero(scales).unsqueeze(-1)
        return {"scales": scales, "integers": steps.round_().to(torch.int8)}
