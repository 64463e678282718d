"""A depthwise convolution of the values of attention (Xiong et al. 2021, Nyströmformer, section 3.3).

Shape suffixes as in `archc.compiler.ops.operators`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.compiler.ops import operators as ops


class ValueConvolution(nn.Module):
    """Σ kernel[offset] · v[s + offset] over the offsets around each token; weight [H, kernel size]."""

    def __init__(self, kernel: int, heads: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.reach = kernel // 2
        self.weight = nn.Parameter(torch.empty(heads, kernel, dtype=dtype))

    def forward(self, v_BHSD: Tensor, real_BS1: Tensor | None) -> Tensor:
        """Values [B, H, S, D], 1 for tokens and 0 for padding → [B, H, S, D], as a product with a band matrix."""
        if real_BS1 is not None:
            v_BHSD = v_BHSD * real_BS1[:, None].to(v_BHSD.dtype)
        positions_S = torch.arange(v_BHSD.shape[2], device=v_BHSD.device)
        offsets_SS = (positions_S - positions_S[:, None]).clamp(-self.reach - 1, self.reach + 1)
        zero_1H = self.weight.new_zeros(1, self.weight.shape[0])
        table = torch.cat((zero_1H, self.weight.permute(1, 0), zero_1H))
        band_HSS = nn.functional.embedding(offsets_SS + self.reach + 1, table).permute(2, 0, 1)
        return ops.product(band_HSS[None], v_BHSD)
