"""Log-n scaling of queries past the trained length (Su 2021; Qwen)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class LognFactor(nn.Module):
    """log(position) / log(n) for positions (from 1) past the trained length n, else 1 (Su 2021)."""

    def __init__(self, trained: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.trained, self.dtype = trained, dtype

    def forward(self, position_ids_BS: Tensor) -> Tensor:
        """int64 positions [B, S] → factors [B, 1, S, 1] in the model's dtype."""
        logs_BS = (position_ids_BS.float() + 1.0).log() / math.log(self.trained)
        return logs_BS.clamp(min=1.0)[:, None, :, None].to(self.dtype)
