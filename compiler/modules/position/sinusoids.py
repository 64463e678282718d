"""Sinusoidal position embeddings, which are added to the token embedding (Vaswani et al. 2017)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.modules.position.rotary_scaling import base_frequencies


class Sinusoids(nn.Module):
    """sin and cos of (first + position) · theta^(−e), e = 2i/width by default (Vaswani et al. 2017, section 3.5)."""

    def __init__(self, word: words.Sinusoidal, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.word, self.dtype = word, dtype
        closed = word.spacing == "closed"
        # n frequencies of a closed series are the first n of a half-open one over 2(n − 1) dimensions.
        series = base_frequencies(word.theta, width - 2 * closed, width // 2)
        self.frequencies: list[float] = series.tolist()

    def forward(self, position_ids_BS: Tensor) -> Tensor:
        """int64 positions [B, S] → embeddings [B, S, width] in the model's dtype."""
        frequencies = torch.tensor(self.frequencies, dtype=torch.float32).to(position_ids_BS.device)
        places_BS = position_ids_BS + self.word.first if self.word.first else position_ids_BS
        angles_BSR = places_BS[:, :, None].float() * frequencies
        parts = [angles_BSR.sin(), angles_BSR.cos()]
        if self.word.layout == "halves":
            return torch.cat(parts, dim=-1).to(self.dtype)
        return torch.stack(parts, dim=-1).flatten(-2).to(self.dtype)
