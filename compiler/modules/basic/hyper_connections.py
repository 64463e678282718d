"""Hyper-connections: branches that read a weighted sum of residual streams and change all of them.

Zhu et al. 2024; Xie et al. 2026. Shape suffixes as in `archc.compiler.modules.basic.streams`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.modules.basic.norm import make_norm
from archc.compiler.ops import operators as ops


class StreamLogits(nn.Module):
    """s ⊙ (W norm(x)) + b in parts, x all streams of a token and s one number for each part; float32 throughout."""

    def __init__(self, word: words.HyperConnections, width: int, sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes = list(sizes)
        self.norm = make_norm(word.norm, word.count * width, torch.float32)
        self.projection = Linear(word.count * width, sum(sizes), False, torch.float32)
        self.scale = nn.Parameter(torch.empty(len(self.sizes), dtype=torch.float32))
        self.bias = nn.Parameter(torch.empty(sum(sizes), dtype=torch.float32))

    def forward(self, x_BSM: Tensor) -> list[Tensor]:
        """[B, S, M] → [B, S, size] for each part."""
        logits = self.projection(self.norm(x_BSM.float())).split(self.sizes, dim=-1)
        biases = self.bias.split(self.sizes)
        return [part * self.scale[i] + bias for i, (part, bias) in enumerate(zip(logits, biases, strict=True))]


class HyperConnection(StreamLogits):
    """The residual connection of one branch: the weights that it reads streams with, adds to them with, and mixes by.

    x' = w y + mᵀ x, where the branch computes y of Σ_i r_i x_i; without mixing, x' = w y + x.
    """

    def __init__(self, word: words.HyperConnections, width: int) -> None:
        count = word.count
        super().__init__(word, width, [count, count, *([count**2] if word.mixing is not None else [])])
        self.word, self.width = word, width

    def read(self, x_BSM: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the branch's input [B, S, N], and the weights of `write`: [B, S, C] and, if mixed, [B, S, C, C]."""
        word = self.word
        reading, writing, *mixing = self(x_BSM)
        weights = [word.write_scale * writing.sigmoid() + word.write_eps]
        if word.mixing is not None:
            weights.append(doubly_stochastic(mixing[0].unflatten(-1, (word.count, word.count)), word.mixing))
        x_BSCN = x_BSM.unflatten(-1, (word.count, self.width))
        return weighted_sum(x_BSCN, reading.sigmoid() + word.eps), weights

    def write(self, x_BSM: Tensor, y_BSN: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """Return the streams after a branch with output y, [B, S, M]."""
        writing_BSC, *mixing = (weight.to(x_BSM.dtype) for weight in weights)
        x_BSCN = x_BSM.unflatten(-1, (self.word.count, self.width))
        if mixing:
            x_BSCN = ops.product(mixing[0].permute(0, 1, 3, 2), x_BSCN)
        return (writing_BSC[..., None] * y_BSN[:, :, None] + x_BSCN).flatten(-2)


class WeightedStreams(StreamLogits):
    """The sum of the last layer's streams with weights sigmoid(·) + eps."""

    def __init__(self, word: words.HyperConnections, width: int) -> None:
        super().__init__(word, width, [word.count])
        self.word, self.width = word, width

    def forward(self, x_BSM: Tensor) -> Tensor:  # type: ignore[override]
        """[B, S, M] → [B, S, N]."""
        (logits_BSC,) = super().forward(x_BSM)
        return weighted_sum(x_BSM.unflatten(-1, (self.word.count, self.width)), logits_BSC.sigmoid() + self.word.eps)


def weighted_sum(x_BSCN: Tensor, weights_BSC: Tensor) -> Tensor:
    """Return the sum of streams with weights in float32, [B, S, N]."""
    return (weights_BSC[..., None] * x_BSCN.float()).sum(dim=2).to(x_BSCN.dtype)


def doubly_stochastic(logits_BSCC: Tensor, word: words.SinkhornMixing) -> Tensor:
    """Return the Sinkhorn-Knopp projection of a softmax over the last axis (Xie et al. 2026), [B, S, C, C]."""
    weights_BSCC = logits_BSCC.softmax(dim=-1) + word.eps
    for index in range(word.iterations):
        if index:
            weights_BSCC = weights_BSCC / (weights_BSCC.sum(dim=-1, keepdim=True) + word.eps)
        weights_BSCC = weights_BSCC / (weights_BSCC.sum(dim=-2, keepdim=True) + word.eps)
    return weights_BSCC
