"""Shared code of hand-written mixtures of experts: every token on its own, one expert after the other."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def routed(scores: Tensor, count: int, apply: Callable[[int, Tensor], Tensor], x: Tensor, normalize: bool) -> Tensor:
    """Each row of x [seq, width] through its `count` best experts, each times its score [seq, experts].

    `normalize` divides the scores of a row's experts by their sum.
    """
    rows = []
    for row, own in zip(x, scores, strict=True):
        best = sorted(range(len(own)), key=lambda expert: -float(own[expert]))[:count]
        total = sum(own[expert] for expert in best) if normalize else torch.ones(())
        rows.append(torch.stack([apply(expert, row) * own[expert] / total for expert in best]).sum(dim=0))
    return torch.stack(rows)
