"""Gated residual streams: each branch reads a gated mean of several streams, and adds its output to all of them.

Zhu et al. 2025, Hyper-Connections, section 2.2, with the gates of Qwen4-Exp. Shape suffixes as in
`archc.compiler.ops.operators`, and: C streams, M = C · N their total width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.modules.basic.norm import PerHead
from archc.compiler.ops import operators as ops


class StreamReader(nn.Module):
    """mean over the streams of sigmoid(up(silu(down(n) / C))) ⊙ n, n being all streams normed."""

    def __init__(self, word: words.GatedStreams, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.count, total = word.count, word.count * width
        self.norm = PerHead(word.norm, word.count, width, dtype)
        self.down = Linear(total, word.rank, False, dtype)
        self.up = Linear(word.rank, total, False, dtype)

    def forward(self, x_BSM: Tensor) -> Tensor:
        """[B, S, M] → [B, S, N]."""
        return self.mean(self.normed(x_BSM))

    def normed(self, x_BSM: Tensor) -> Tensor:
        """Return all streams normed, [B, S, M]."""
        return ops.merge_heads(self.norm(ops.split_heads(x_BSM, self.count)))

    def mean(self, normed_BSM: Tensor) -> Tensor:
        """Return the gated mean of normed streams, [B, S, N]."""
        gate_BSM = self.up(nn.functional.silu(self.down(normed_BSM) * (1 / self.count))).sigmoid()
        gated_BSCN = (gate_BSM * normed_BSM).unflatten(-1, (self.count, -1))
        return gated_BSCN.sum(dim=2) * (1 / self.count)


class GatedStreams(StreamReader):
    """The streams around a branch, which reads them and whose output y is added as 2 · sigmoid(factors(n) / C) · y."""

    def __init__(self, word: words.GatedStreams, width: int, dtype: torch.dtype) -> None:
        super().__init__(word, width, dtype)
        self.factors = Linear(word.count * width, word.count, False, dtype)

    def read(self, x_BSM: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the input of the branch [B, S, N], and the factors of `write` [B, S, C] as a list of one."""
        normed_BSM = self.normed(x_BSM)
        factors_BSC: Tensor = (self.factors(normed_BSM) * (1 / self.count)).sigmoid() * 2.0
        return self.mean(normed_BSM), [factors_BSC]

    @staticmethod
    def write(x_BSM: Tensor, y_BSN: Tensor, factors: Sequence[Tensor]) -> Tensor:
        """Return the streams plus the branch's output times their factors, [B, S, M]."""
        (factors_BSC,) = factors
        return x_BSM + (factors_BSC[..., None] * y_BSN[:, :, None]).flatten(-2)
