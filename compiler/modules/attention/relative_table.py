"""Disentangled attention: scores with a table of relative positions that all layers project (He et al. 2021).

Shape suffixes as in `archc.compiler.ops.operators`, and: R rows of the table.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.modules.basic.norm import make_norm
from archc.compiler.ops import operators as ops


class RelativeTable(nn.Module):
    """norm(table): weight [R, N], R = 2 · span; row r is for keys r − span positions behind a query."""

    def __init__(self, word: words.Disentangled, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(2 * word.span, width, dtype=dtype))
        self.norm = make_norm(word.norm, width, dtype)

    def forward(self) -> Tensor:
        """Return the table, [1, R, N]."""
        rows: Tensor = self.norm(self.weight[None])
        return rows


class DisentangledBias(nn.Module):
    """q(x)·k(P) + k(y)·q(P) for queries x, keys y and the row P of their distance (He et al. 2021, section 3.1)."""

    def __init__(self, word: words.Disentangled, heads: int, head_dim: int, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.word, self.heads = word, heads
        own = word.projections == "own"
        self.k = Linear(width, heads * head_dim, word.bias.keys, dtype) if own and word.keys else None
        self.q = Linear(width, heads * head_dim, word.bias.queries, dtype) if own and word.queries else None

    def forward(
        self, q_BHSD: Tensor, k_BHSD: Tensor, table_1RN: Tensor, rows_1SS: Tensor, q: Linear, k: Linear
    ) -> Tensor:
        """Queries, keys, the table and the row of each pair, int64 → [B, H, S, S]; q and k project the tokens."""
        terms = []
        if self.word.keys:
            terms.append(self.pick(q_BHSD, self.k or k, table_1RN, rows_1SS))
        if self.word.queries:
            terms.append(self.pick(k_BHSD, self.q or q, table_1RN, rows_1SS.permute(0, 2, 1)).permute(0, 1, 3, 2))
        return terms[0] if len(terms) == 1 else terms[0] + terms[1]

    def pick(self, x_BHSD: Tensor, projection: Linear, table_1RN: Tensor, rows_1SS: Tensor) -> Tensor:
        """Return x · projection(row) for each vector and the rows that its place in `rows` names, [B, H, S, S]."""
        rows_1HDR = ops.split_heads(projection(table_1RN), self.heads).permute(0, 1, 3, 2)
        products_BHSR = ops.product(x_BHSD, rows_1HDR)
        return products_BHSR.gather(3, rows_1SS[:, None].expand(*products_BHSR.shape[:3], rows_1SS.shape[-1]))
