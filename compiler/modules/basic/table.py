"""A lookup table."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Table(nn.Module):
    """Lookup table: weight [rows, width], of numbers or of integers such as ids."""

    def __init__(self, rows: int, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, width, dtype=dtype), requires_grad=dtype.is_floating_point)

    def forward(self, index: Tensor) -> Tensor:
        """int64 [...] → [..., width]."""
        return nn.functional.embedding(index, self.weight)
