"""Terms and factors of the embedding that a plain text determines: rows of further tables, and token dropout.

Shape suffixes as in `archc.compiler.ops.operators`.
"""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.modules.basic.table import Table


class FurtherTables(nn.ModuleList):
    """Σ times · table[row], or the rows one after another if the word has widths (Su et al. 2022, RoCBert)."""

    def __init__(self, word: words.FurtherTables, width: int, dtype: torch.dtype) -> None:
        widths = word.widths or (width,) * len(word.rows)
        super().__init__(Table(rows, width, dtype) for rows, width in zip(word.rows, widths, strict=True))
        self.word = word

    def forward(self) -> Tensor:
        """Return the vector that every token has, [N]."""
        rows: list[Tensor] = [table.get_parameter("weight")[self.word.row] for table in self]
        if self.word.widths is not None:
            return torch.cat(rows)
        times = self.word.times or (1,) * len(rows)
        scaled = [row if count == 1 else row * count for row, count in zip(rows, times, strict=True)]
        return reduce(torch.add, scaled)


class TokenDropout(nn.Module):
    """x · keep / (1 − share of mask tokens in the row), and zeros for those (Rives et al. 2021, appendix)."""

    def __init__(self, word: words.TokenDropout) -> None:
        super().__init__()
        self.word = word

    def forward(self, x_BSN: Tensor, input_ids_BS: Tensor, lengths_B: Tensor) -> Tensor:
        """[B, S, N], int64 ids [B, S] and numbers of tokens [B] → [B, S, N]; padding is not counted."""
        positions_S = torch.arange(input_ids_BS.shape[1], device=input_ids_BS.device)
        masked_BS = input_ids_BS.eq(self.word.token).float()
        counted_BS = masked_BS * (lengths_B[:, None] > positions_S).float()
        share_B = counted_BS.sum(1) / lengths_B.float()
        factor_BS = (1.0 - masked_BS) * self.word.keep / (1.0 - share_B)[:, None]
        return x_BSN * factor_BS[:, :, None].to(x_BSN.dtype)
