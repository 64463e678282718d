"""Recurrent token mixers by their kind."""

from __future__ import annotations

import torch
from torch import nn

from archc.archspec import vocabulary as words
from archc.compiler.modules.recurrent.decayed_average import DecayedAverage
from archc.compiler.modules.recurrent.delta_rule import DeltaRule
from archc.compiler.modules.recurrent.linear_attention import LinearAttention
from archc.compiler.modules.recurrent.matrix_state import MatrixState
from archc.compiler.modules.recurrent.rg_lru import RgLru
from archc.compiler.modules.recurrent.selective_scan import SelectiveScan
from archc.compiler.modules.recurrent.short_convolution import ShortConvolution


def make_recurrence(word: words.Recurrence, width: int, dtype: torch.dtype) -> nn.Module:
    """Return the module of a recurrence word for a residual stream of that width."""
    match word:
        case words.DecayedAverage():
            return DecayedAverage(word, width, dtype)
        case words.LinearAttention():
            return LinearAttention(word, width, dtype)
        case words.DeltaRule():
            return DeltaRule(word, width, dtype)
        case words.SelectiveScan():
            return SelectiveScan(word, width, dtype)
        case words.MatrixState():
            return MatrixState(word, width, dtype)
        case words.ShortConvolution():
            return ShortConvolution(word, width, dtype)
        case words.RgLru():
            return RgLru(word, width, dtype)
