"""Token shift: inputs blended from each position's vector and the one before it (Peng et al. 2023; 2024).

Shape suffixes as in `archc.compiler.ops.recurrences`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.modules.layer_inputs import Signals
from archc.compiler.modules.recurrent.convolution import last_input


def previous_inputs(x_BSM: Tensor, tail_B1M: Tensor | None) -> Tensor:
    """Each position's predecessor [B, S, M]; the first one's is the tail of an earlier call, or zero."""
    if tail_B1M is None:
        tail_B1M = torch.zeros_like(x_BSM[:, :1])
    return torch.cat((tail_B1M, x_BSM), dim=1)[:, :-1]


class Blends(nn.Module):
    """A weight for each channel, for each named stream."""

    def __init__(self, streams: Sequence[str], width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.streams = streams
        for name in streams:
            self.register_parameter(name, nn.Parameter(torch.empty(width, dtype=dtype)))


class StaticShift(Blends):
    """previous + (x − previous) · weight, or the other way round where the weight is the previous one's."""

    def __init__(self, word: words.StaticShift, streams: Sequence[str], width: int, dtype: torch.dtype) -> None:
        super().__init__(streams, width, dtype)
        self.current = word.weighs == "current"

    def forward(self, x_BSM: Tensor, tail_B1M: Tensor | None) -> dict[str, Tensor]:
        """[B, S, M] and the tail [B, 1, M] → a blend for each stream."""
        previous = previous_inputs(x_BSM, tail_B1M)
        start, step = (previous, x_BSM - previous) if self.current else (x_BSM, previous - x_BSM)
        return {name: start + step * self.get_parameter(name) for name in self.streams}


class DynamicShift(Blends):
    """x + (previous − x) · (weight + up(tanh(down(x + (previous − x) · first)))), an `up` for each stream."""

    def __init__(self, word: words.DynamicShift, streams: Sequence[str], width: int, dtype: torch.dtype) -> None:
        super().__init__(streams, width, dtype)
        self.rank = word.rank
        self.first = nn.Parameter(torch.empty(width, dtype=dtype))
        self.down = Linear(width, word.rank * len(streams), False, dtype)
        self.up = nn.ModuleDict({name: Linear(word.rank, width, False, dtype) for name in streams})

    def forward(self, x_BSM: Tensor, tail_B1M: Tensor | None) -> dict[str, Tensor]:
        """[B, S, M] and the tail [B, 1, M] → a blend for each stream."""
        step = previous_inputs(x_BSM, tail_B1M) - x_BSM
        inner = self.down(x_BSM + step * self.first).tanh().split(self.rank, dim=-1)
        return {
            name: x_BSM + step * (self.get_parameter(name) + self.up[name](part))
            for name, part in zip(self.streams, inner, strict=True)
        }


def make_shift(word: words.TokenShift, streams: Sequence[str], width: int, dtype: torch.dtype) -> nn.Module:
    """The module of a token-shift word; `streams` in the order of the checkpoint's fused paths."""
    if isinstance(word, words.DynamicShift):
        return DynamicShift(word, streams, width, dtype)
    return StaticShift(word, streams, width, dtype)


def new_tail(x_BSM: Tensor, state: Mapping[str, Tensor], name: str, signals: Signals) -> dict[str, Tensor]:
    """The tail for the next call, where there is a state."""
    if not state:
        return {}
    assert signals.lengths_B is not None
    return {name: last_input(x_BSM, state[name], signals.lengths_B)}
