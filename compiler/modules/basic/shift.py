"""Inputs of earlier positions: the last k inputs of a sequence are a state between calls (its tail).

Shape suffixes as in `archc.compiler.ops.operators`, and K the number of inputs in a tail.
"""

from __future__ import annotations

import torch
from torch import Tensor

from archc.compiler.contract.state import State
from archc.compiler.ops import operators as ops


def with_tail(x_BSN: Tensor, tail_BKN: Tensor | None, count: int) -> Tensor:
    """Return the last K = count inputs before a call and those of the call, [B, K + S, N].

    The tail is that of an earlier call; None is the beginning of a sequence, where all are zero.
    """
    if tail_BKN is None:
        tail_BKN = x_BSN.new_zeros(x_BSN.shape[0], count, x_BSN.shape[2])
    return torch.cat((tail_BKN, x_BSN), dim=1)


def shift(x_BSN: Tensor, tail_B1N: Tensor | None) -> Tensor:
    """Return the input of the position before each one, [B, S, N]; the first position has the tail or zero."""
    return with_tail(x_BSN, tail_B1N, 1)[:, :-1]


def next_tail(x_BSN: Tensor, tail_BKN: Tensor, lengths_B: Tensor) -> Tensor:
    """Return the tail for the next call, [B, K, N]: the last K inputs of each row, padding excluded.

    `lengths` are the numbers of real tokens; rows with fewer than K of them retain a part of the old tail.
    """
    positions_BK = lengths_B[:, None]
    if tail_BKN.shape[1] > 1:
        positions_BK = positions_BK + torch.arange(tail_BKN.shape[1], device=lengths_B.device)
    return ops.take_positions(torch.cat((tail_BKN, x_BSN), dim=1), positions_BK)


def tail_state(x_BSN: Tensor, state: State, name: str, lengths_B: Tensor | None) -> dict[str, Tensor]:
    """Return the tail for the next call under its name; nothing without a cache."""
    if not state:
        return {}
    assert lengths_B is not None
    return {name: next_tail(x_BSN, state[name], lengths_B)}
