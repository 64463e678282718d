"""Rotary position embeddings: tables of cos and sin (Su et al. 2021).

Shape suffixes as in `archc.compiler.ops.operators`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.contract.shared_inputs import rotary_dim
from archc.compiler.modules.position.rotary_scaling import base_frequencies, scaled_frequencies


class RotaryTables(nn.Module):
    """cos and sin of position · frequency for every rotated pair of dims, computed in float32."""

    def __init__(self, word: words.Rope, head_dim: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.word, self.dim, self.dtype = word, rotary_dim(word, head_dim), dtype
        frequencies, self.factor = scaled_frequencies(word, self.dim)
        # A Python list: a tensor would have no numbers on the meta device.
        self.frequencies: list[float] = frequencies.tolist()
        self.logs = nn.Parameter(torch.empty(self.dim // 2, dtype=torch.float32)) if word.learned else None

    def forward(self, position_ids_BS: Tensor, ntk_scale_B1: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """int64 positions [B, S], and the NTK scale if it is a state → cos, sin [B, S, R] in the model's dtype."""
        if ntk_scale_B1 is not None:
            frequencies = self.ntk_frequencies(ntk_scale_B1)
        else:
            frequencies = self.call_frequencies(position_ids_BS)
        if self.logs is not None:
            frequencies = frequencies * self.logs.exp()
        angles_BSR = position_ids_BS[:, :, None].float() * frequencies
        sin_factor = -self.factor if self.word.reverse else self.factor
        return (angles_BSR.cos() * self.factor).to(self.dtype), (angles_BSR.sin() * sin_factor).to(self.dtype)

    def call_frequencies(self, position_ids_BS: Tensor) -> Tensor:
        """Return this call's frequencies, float32: [R], or [B, 1, R] if they depend on the length of a row."""
        match self.word.scaling:
            case words.DynamicScaling() as scaling:
                return self.dynamic_frequencies(position_ids_BS, scaling)
            case words.LongRopeScaling() as scaling:
                return self.longrope_frequencies(position_ids_BS, scaling)
        return torch.tensor(self.frequencies, dtype=torch.float32).to(position_ids_BS.device)

    def longrope_frequencies(self, position_ids_BS: Tensor, scaling: words.LongRopeScaling) -> Tensor:
        """Return frequencies over the long factors for rows past the trained length, else over the short ones."""
        device = position_ids_BS.device
        plain, long, short = (
            torch.tensor(numbers, dtype=torch.float32).to(device)
            for numbers in (self.frequencies, scaling.long_factor, scaling.short_factor)
        )
        is_long_B1 = position_ids_BS.amax(dim=1, keepdim=True) >= scaling.original_max_position_embeddings
        return torch.where(is_long_B1[:, :, None], plain / long, plain / short)

    def dynamic_frequencies(self, position_ids_BS: Tensor, scaling: words.DynamicScaling) -> Tensor:
        """Return NTK-aware frequencies for the length of each row, float32 [B, 1, R].

        scale = factor · length / trained length − (factor − 1), at least 1.
        """
        trained, factor = scaling.original_max_position_embeddings, scaling.factor
        length_B1 = position_ids_BS.amax(dim=1, keepdim=True).float() + 1.0
        return self.ntk_frequencies((factor * length_B1 / trained - (factor - 1.0)).clamp(min=1.0))

    def ntk_frequencies(self, ntk_scale_B1: Tensor) -> Tensor:
        """Return frequencies of the base theta · scale^(d/(d−2)), float32 [B, 1, R]."""
        log_theta_B1 = math.log(self.word.theta) + ntk_scale_B1.log() * (self.dim / (self.dim - 2))
        exponents_R = torch.arange(0, self.dim, 2, dtype=torch.float32, device=ntk_scale_B1.device) / self.dim
        return (-log_theta_B1[:, :, None] * exponents_R).exp()

    @property
    def has_ntk_state(self) -> bool:
        """True if the NTK scale is a state: set by the first call of a sequence, then constant."""
        return isinstance(self.word.scaling, words.PromptNtkScaling)

    def prompt_ntk_scale(
        self, position_ids_BS: Tensor, past_scale_B1: Tensor | None, write_indices_B: Tensor | None
    ) -> Tensor:
        """Return each row's NTK scale, float32 [B, 1]: of its length if it begins in this call, else the past one.

        scale = 2^ceil(log2(length / trained length) + 1) − 1, at least 1.
        """
        assert isinstance(self.word.scaling, words.PromptNtkScaling)
        length_B1 = position_ids_BS.amax(dim=1, keepdim=True).float() + 1.0
        doublings_B1 = ((length_B1 / self.word.scaling.trained).log2() + 1.0).ceil()
        scale_B1 = (torch.pow(2.0, doublings_B1) - 1.0).clamp(min=1.0)
        if past_scale_B1 is None or write_indices_B is None:
            return scale_B1
        return torch.where(write_indices_B[:, None] == 0, scale_B1, past_scale_B1)


class BlockRotaryTables(nn.Module):
    """cos and sin for both halves of a head: positions in the text, and in the generated block (Du et al. 2022)."""

    def __init__(self, word: words.BlockRope, head_dim: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        frequencies = base_frequencies(word.theta, head_dim // 2)
        if word.rounding == "float16":
            frequencies = frequencies.half().float()
        self.frequencies: list[float] = frequencies.tolist()

    def forward(self, positions_B2S: Tensor) -> tuple[Tensor, Tensor]:
        """int64 positions in text and block [B, 2, S] → cos, sin [B, 2, S, D/4] in the model's dtype."""
        frequencies = torch.tensor(self.frequencies, dtype=torch.float32).to(positions_B2S.device)
        angles_B2SR = positions_B2S[..., None].float() * frequencies
        return angles_B2SR.cos().to(self.dtype), angles_B2SR.sin().to(self.dtype)
