"""Convolutions over the tokens of a text in both directions, as products with the tokens around each one.

Shape suffixes as in `archc.compiler.ops.operators`, and: K kernel size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.modules.basic.norm import make_norm
from archc.compiler.modules.basic.pooling import DENSE_ACTIVATIONS


def around(x_BSN: Tensor, kernel: int) -> list[Tensor]:
    """Return the token at each offset −(K − 1)/2 … (K − 1)/2 of every token, [B, S, N]; zeros beyond the row."""
    zeros = x_BSN.new_zeros(x_BSN.shape[0], kernel // 2, x_BSN.shape[2])
    padded, length = torch.cat((zeros, x_BSN, zeros), dim=1), x_BSN.shape[1]
    return [padded[:, offset : offset + length] for offset in range(kernel)]


class ConvolutionBranch(nn.Module):
    """norm(y + act(convolution(x))) for a layer's input x and output y (He et al. 2021, DeBERTa-v2).

    The weight of the projection is the kernel [N, N, K] as a matrix [N, N · K].
    """

    def __init__(self, word: words.LayerConvolution, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.word = word
        self.projection = Linear(width * word.kernel, width, True, dtype)
        self.norm = make_norm(word.norm, width, dtype)

    def forward(self, x_BSN: Tensor, y_BSN: Tensor, real_BS1: Tensor | None) -> Tensor:
        """[B, S, N], [B, S, N], 1 for tokens and 0 for padding → [B, S, N]."""
        if real_BS1 is not None:
            x_BSN = x_BSN * real_BS1.to(x_BSN.dtype)
        window_BSM = torch.stack(around(x_BSN, self.word.kernel), dim=-1).flatten(-2)
        z: Tensor = self.norm(y_BSN + DENSE_ACTIVATIONS[self.word.activation](self.projection(window_BSM)))
        return z
