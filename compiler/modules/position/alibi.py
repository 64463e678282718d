"""ALiBi: biases on the scores by the distance of query and key (Press et al. 2022)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words


def alibi_slopes(heads: int, max_bias: float = 8.0, slopes: str = "interleaved") -> list[float]:
    """Return 2^(−max_bias·i/n) for i = 1 … n if n is a power of two (Press et al. 2022, section 3).

    For other counts, `archc.archspec.vocabulary.Alibi` describes the two conventions of checkpoints.
    """

    def series(count: int) -> list[float]:
        return [2.0 ** (-max_bias * i / count) for i in range(1, count + 1)]

    below = 2 ** math.floor(math.log2(heads))
    if below == heads:
        return series(heads)
    above = series(2 * below)
    if slopes == "interleaved":
        return series(below) + above[0::2][: heads - below]
    return (above[1::2] + above[0::2])[:heads]


class AlibiBias(nn.Module):
    """−slope(head) · |query position − key position|.

    With keys on one side, slope · key position: softmax ignores the query's share, which is constant in a row.
    """

    def __init__(self, word: words.Alibi, heads: int, dtype: torch.dtype, *, both_sides: bool = False) -> None:
        super().__init__()
        self.word, self.dtype, self.both_sides = word, dtype, both_sides
        self.slopes = alibi_slopes(heads, word.max_bias, word.slopes)

    def forward(self, mask_B1ST: Tensor) -> Tensor:
        """A mask, of which only the size T is read → bias [1, H, 1, T] in the model's dtype.

        With keys on both sides, which are those of this call, [1, H, T, T].
        """
        device = mask_B1ST.device
        slopes_H11 = torch.tensor(self.slopes, dtype=torch.float32).to(device)[:, None, None]
        steps_T = torch.arange(mask_B1ST.shape[-1], device=device).float()
        if self.both_sides:
            ahead_TT = steps_T - steps_T[:, None]
            steps_T = ahead_TT.clamp(max=0) - ahead_TT.clamp(min=0)
        if self.word.rounding == "bfloat16":
            slopes_H11, steps_T = (x.to(torch.bfloat16).float() for x in (slopes_H11, steps_T))
            return (slopes_H11 * steps_T).to(torch.bfloat16).to(self.dtype)[None]
        return (slopes_H11 * steps_T).to(self.dtype)[None]
