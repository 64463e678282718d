"""Output of the heads of a matrix state: norm and gate."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.modules.basic.linear import scaled
from archc.compiler.modules.recurrent.decay import make_projection
from archc.compiler.ops import recurrences
from archc.compiler.ops.operators import rms_norm


class GroupNorm(nn.Module):
    """RMS norm over equal groups of channels, with a weight for each channel or one vector for all groups."""

    def __init__(self, word: words.OutputNorm, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.word, self.size = word, width // word.groups
        weights = self.size if word.weights == "shared" else width
        self.weight = nn.Parameter(torch.empty(weights, dtype=dtype)) if word.affine else None

    def forward(self, x_BSM: Tensor) -> Tensor:
        """[B, S, M] → [B, S, M]."""
        offset, weight = float(self.word.unit_offset), self.weight
        ones = torch.ones(self.size, dtype=x_BSM.dtype, device=x_BSM.device)
        per_group = weight is not None and weight.shape[0] == self.size
        inner, inner_offset = (weight, offset) if per_group else (ones, 0.0)
        normed = rms_norm(recurrences.part_heads(x_BSM, self.word.groups), inner, self.word.eps, inner_offset)
        y = recurrences.join_heads(normed)
        if per_group or weight is None:
            return y
        return y * (weight + offset if offset else weight)


class GatedOutput(nn.Module):
    """norm(y) ⊙ act(gate(x)), or norm(y ⊙ act(gate(x))); without the norm or the gate if the word has none."""

    def __init__(self, word: words.MatrixState, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.gate_scale = word.scales.gate
        self.gate, self.is_before = None, word.gate is not None and word.gate.order == "before"
        if word.gate is not None:
            self.gate = make_projection(width, word.gate.rank, word.values, word.bias, dtype)
            self.activation = torch.sigmoid if word.gate.activation == "sigmoid" else nn.functional.silu
        self.norm = GroupNorm(word.norm, word.values, dtype) if isinstance(word.norm, words.OutputNorm) else None

    def forward(self, y_BSM: Tensor, x_BSN: Tensor) -> Tensor:
        """Output of the heads [B, S, M] and input of the mixer [B, S, N] → [B, S, M]."""
        if self.gate is None:
            return y_BSM if self.norm is None else self.norm(y_BSM)
        gate = self.activation(scaled(self.gate(x_BSN), self.gate_scale))
        if self.is_before:
            y_BSM = y_BSM * gate
        if self.norm is not None:
            y_BSM = self.norm(y_BSM)
        return y_BSM if self.is_before else y_BSM * gate
