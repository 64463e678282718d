"""Factors on queries that grow with the position: log-n scaling (Su 2021) and temperature tuning (Llama 4)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words


class QueryScale(nn.Module):
    """The factor of each position, as a word of `archc.archspec.vocabulary.mixer` defines it."""

    def __init__(self, word: words.QueryScale, dtype: torch.dtype) -> None:
        super().__init__()
        self.word, self.dtype = word, dtype

    def forward(self, position_ids_BS: Tensor) -> Tensor:
        """int64 positions [B, S] from 0 → factors [B, 1, S, 1] in the model's dtype, computed in float32."""
        word, positions_BS = self.word, position_ids_BS.float()
        if isinstance(word, words.LogScale):
            factors_BS = ((positions_BS + 1.0).log() / math.log(word.trained)).clamp(min=1.0)
        elif isinstance(word, words.LearnedLogScale):
            factors_BS = (positions_BS + 1.0).log()
        elif isinstance(word, words.PowerScale):
            factors_BS = (word.exponent * (1.0 + (positions_BS + float(word.first)) / word.span).log()).exp()
        else:
            # floor(x) as -ceil(-x): ONNX Runtime has no CUDA kernel of Floor.
            steps_BS = -(-(positions_BS + float(word.first)) / word.span).ceil()
            factors_BS = 1.0 + word.coefficient * (1.0 + steps_BS).log()
        return factors_BS[:, None, :, None].to(self.dtype)


class LearnedScale(nn.Module):
    """The factor a · f + b of each head, with learned a and b, for the number f of a position."""

    def __init__(self, heads: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.slope, self.offset = (nn.Parameter(torch.empty(heads, dtype=dtype)) for _ in range(2))

    def forward(self, scale_B1S1: Tensor) -> Tensor:
        """[B, 1, S, 1] → [B, H, S, 1]."""
        return self.slope[:, None, None] * scale_B1S1 + self.offset[:, None, None]


def make_learned_scale(word: words.QueryScale | None, heads: int, dtype: torch.dtype) -> LearnedScale | None:
    """Return the module of a query scale that is learned by head; None for others."""
    return LearnedScale(heads, dtype) if isinstance(word, words.LearnedLogScale) else None
