"""Relative positions in buckets, and the learned bias on the scores that each bucket has (Raffel et al. 2020).

Shape suffixes as in `archc.compiler.ops.operators`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words


def buckets_of_distances(buckets: int, max_distance: int) -> Tensor:
    """The bucket of each distance 0 … max_distance to one side, int64: the last one holds from there on.

    Distances below half of the buckets have one each; of the others, distance n is in bucket
    half + floor(ln(n / half) / ln(max_distance / half) · (buckets − half)) (Raffel et al. 2020; Mesh TensorFlow).
    """
    half = buckets // 2
    # float32 as in training: whole powers lie on the edge of a bucket, and rounding decides which.
    distances = torch.arange(max_distance + 1, device="cpu")
    logs = (distances.clamp(min=1).float() / half).log() / math.log(max_distance / half)
    grown = (half + (logs * (buckets - half)).long()).clamp(max=buckets - 1)
    return torch.where(distances < half, distances, grown)


class RelativeBuckets(nn.Module):
    """The bucket of every query and key, by how far the key lies from the query."""

    def __init__(self, word: words.RelativeBuckets, both_sides: bool) -> None:
        super().__init__()
        self.far, self.both_sides = word.max_distance, both_sides
        side = buckets_of_distances(word.buckets // (2 if both_sides else 1), self.far)
        # By key − query from −far to far: those behind first, those ahead in the other half or all in the first bucket.
        ahead = side + word.buckets // 2 if both_sides else torch.zeros_like(side)
        self.table: list[int] = torch.cat((side.flip(0), ahead[1:])).tolist()

    def forward(self, query_BS: Tensor, keys: int) -> Tensor:
        """Places of the queries [B, S], and how many keys there are, at the places from 0 on → int64 [B, S, T]."""
        device = query_BS.device
        distance_BST = torch.arange(keys, device=device) - query_BS[:, :, None]
        table = torch.tensor(self.table).to(device)
        return table[distance_BST.clamp(-self.far, self.far) + self.far]


class BiasTable(nn.Module):
    """A number for each bucket and head."""

    def __init__(self, buckets: int, heads: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(buckets, heads, dtype=dtype))

    def forward(self, buckets_BST: Tensor) -> Tensor:
        """Buckets [B, S, T] → biases on the scores [B, H, S, T]."""
        return nn.functional.embedding(buckets_BST, self.weight).permute(0, 3, 1, 2)
