"""Pooling of the keys of a block into one, for the block that ends with each token.

Shape suffixes as in `archc.compiler.ops.operators`, and: I width of a key, P width of the values that a token has in
the pooling, M number of tokens in a block.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.modules.basic.linear import Linear


class MeanBlockPool(nn.Module):
    """The mean of the keys of a block (Yuan et al. 2025, Native Sparse Attention, section 3.3.1)."""

    def __init__(self, block: int) -> None:
        super().__init__()
        self.block = block

    def parts(self, k_BSI: Tensor, _: Tensor) -> Tensor:
        """Return the values of each token in the pooling [B, S, P]: its key."""
        return k_BSI

    def forward(self, parts_BTP: Tensor) -> Tensor:
        """Values of S tokens and of the M − 1 before them, [B, S + M − 1, P] → [B, S, I]."""
        return sums_of_last(parts_BTP, self.block) * (1 / self.block)


class WeightedBlockPool(nn.Module):
    """Σ_j p_j ⊙ k_j over the tokens j of a block, with p = softmax_j(W x_j + b_j) for each channel (GLM 5.3)."""

    def __init__(self, block: int, head_dim: int, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.block = block
        self.projection = Linear(width, head_dim, False, dtype)
        self.bias = nn.Parameter(torch.empty(block, head_dim, dtype=dtype))

    def parts(self, k_BSI: Tensor, x_BSN: Tensor) -> Tensor:
        """Return the values of each token in the pooling [B, S, P]: its key, and W x."""
        return torch.cat((k_BSI, self.projection(x_BSN)), dim=-1)

    def forward(self, parts_BTP: Tensor) -> Tensor:
        """Values of S tokens and of the M − 1 before them, [B, S + M − 1, P] → [B, S, I]; the softmax is in float32."""
        ends = [place - self.block + 1 or None for place in range(self.block)]
        windows_BSMP = torch.stack([parts_BTP[:, place:end] for place, end in enumerate(ends)], dim=2)
        k_BSMI, logits_BSMI = windows_BSMP.chunk(2, dim=-1)
        return weighted_sums(k_BSMI, logits_BSMI.float() + self.bias.float())


def make_block_pool(
    word: words.BlockPool, block: int, head_dim: int, width: int, dtype: torch.dtype
) -> MeanBlockPool | WeightedBlockPool:
    """Return the module of a pooling of `block` keys of that width, from inputs x of the given one."""
    if isinstance(word, words.MeanBlockPool):
        return MeanBlockPool(block)
    return WeightedBlockPool(block, head_dim, width, dtype)


def weighted_sums(k_BSMI: Tensor, logits_BSMI: Tensor) -> Tensor:
    """Return Σ_j softmax_j(logits) ⊙ k_j over the tokens j of each block, [B, S, I]; the logits are float32."""
    return (k_BSMI * logits_BSMI.softmax(dim=2).to(k_BSMI.dtype)).sum(dim=2)


def sums_of_last(x_BTN: Tensor, count: int) -> Tensor:
    """Return the sum of each vector and the `count` − 1 before it, [B, T − count + 1, N], in log2(count) steps."""
    total, length = x_BTN, 1
    for bit in bin(count)[3:]:
        total = total[:, length:] + total[:, :-length]
        length *= 2
        if bit == "1":
            total = total[:, :-1] + x_BTN[:, length:]
            length += 1
    return total
