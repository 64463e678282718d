"""Sinusoidal position embeddings, which are added to the token embedding (Vaswani et al. 2017)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.modules.position.rotary_scaling import base_frequencies


class Sinusoids(nn.Module):
    """sin and cos of position · theta^(−2i/width) (Vaswani et al. 2017, section 3.5)."""

    def __init__(self, word: words.Sinusoidal, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.word, self.dtype = word, dtype
        self.frequencies: list[float] = base_frequencies(word.theta, width).tolist()

    def forward(self, position_ids_BS: Tensor) -> Tensor:
        """int64 positions [B, S] → embeddings [B, S, width] in the model's dtype."""
        frequencies = torch.tensor(self.frequencies, dtype=torch.float32).to(position_ids_BS.device)
        angles_BSR = position_ids_BS[:, :, None].float() * frequencies
        parts = [angles_BSR.sin(), angles_BSR.cos()]
        if self.word.layout == "halves":
            return torch.cat(parts, dim=-1).to(self.dtype)
        return torch.stack(parts, dim=-1).flatten(-2).to(self.dtype)
