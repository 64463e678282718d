"""Token shift: mixes of each position's input with that of the position before it (Peng et al. 2023; 2024).

Shape suffixes as in `archc.compiler.ops.recurrences`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.modules.basic.shift import shift


class MixWeights(nn.Module):
    """One weight for each channel, for each named stream."""

    def __init__(self, streams: Sequence[str], width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.streams = streams
        for name in streams:
            self.register_parameter(name, nn.Parameter(torch.empty(width, dtype=dtype)))


class StaticShift(MixWeights):
    """previous + (x − previous) ⊙ weight (Peng et al. 2023, section 3.1); or x + (previous − x) ⊙ weight."""

    def __init__(self, word: words.StaticShift, streams: Sequence[str], width: int, dtype: torch.dtype) -> None:
        super().__init__(streams, width, dtype)
        self.current = word.weighs == "current"

    def forward(self, x_BSM: Tensor, tail_B1M: Tensor | None) -> dict[str, Tensor]:
        """[B, S, M], and the tail [B, 1, M] of an earlier call → mixed inputs [B, S, M] by stream."""
        previous = shift(x_BSM, tail_B1M)
        start, step = (previous, x_BSM - previous) if self.current else (x_BSM, previous - x_BSM)
        return {name: start + step * self.get_parameter(name) for name in self.streams}


class DynamicShift(MixWeights):
    """x + (previous − x) ⊙ (weight + up(tanh(down(x + (previous − x) ⊙ first)))), one `up` for each stream.

    This is the data-dependent linear interpolation of RWKV-6 (Peng et al. 2024).
    """

    def __init__(self, word: words.DynamicShift, streams: Sequence[str], width: int, dtype: torch.dtype) -> None:
        super().__init__(streams, width, dtype)
        self.rank = word.rank
        self.first = nn.Parameter(torch.empty(width, dtype=dtype))
        self.down = Linear(width, word.rank * len(streams), False, dtype)
        self.up = nn.ModuleDict({name: Linear(word.rank, width, False, dtype) for name in streams})

    def forward(self, x_BSM: Tensor, tail_B1M: Tensor | None) -> dict[str, Tensor]:
        """[B, S, M], and the tail [B, 1, M] of an earlier call → mixed inputs [B, S, M] by stream."""
        step = shift(x_BSM, tail_B1M) - x_BSM
        inner = self.down(x_BSM + step * self.first).tanh().split(self.rank, dim=-1)
        return {
            name: x_BSM + step * (self.get_parameter(name) + self.up[name](part))
            for name, part in zip(self.streams, inner, strict=True)
        }


def make_shift(word: words.TokenShift, streams: Sequence[str], width: int, dtype: torch.dtype) -> nn.Module:
    """Return the module of a token-shift word; `streams` in the order of the checkpoint's fused projections."""
    if isinstance(word, words.DynamicShift):
        return DynamicShift(word, streams, width, dtype)
    return StaticShift(word, streams, width, dtype)
