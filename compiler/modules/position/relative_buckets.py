"""Relative positions in buckets of growing width (Raffel et al. 2020, T5, section 2.1)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words


def buckets_of_distances(buckets: int, max_distance: int) -> Tensor:
    """Return the bucket of each distance 0 … max_distance to one side, int64 [max_distance + 1].

    Distances below half of the buckets have one each; of the others, distance n is in bucket
    half + floor(ln(n / half) / ln(max_distance / half) · (buckets − half)) (Raffel et al. 2020; Mesh TensorFlow).
    The last bucket also holds all longer distances.
    """
    half = buckets // 2
    # float32 as in training: exact powers lie on the edge of a bucket, and rounding decides which one it is.
    distances = torch.arange(max_distance + 1, device="cpu")
    logs = (distances.clamp(min=1).float() / half).log() / math.log(max_distance / half)
    logarithmic = (half + (logs * (buckets - half)).long()).clamp(max=buckets - 1)
    return torch.where(distances < half, distances, logarithmic)


class RelativeBuckets(nn.Module):
    """The bucket of every query and key, by the distance from the query to the key."""

    def __init__(self, word: words.RelativeBuckets, both_sides: bool) -> None:
        super().__init__()
        self.max_distance, self.both_sides = word.max_distance, both_sides
        side = buckets_of_distances(word.buckets // (2 if both_sides else 1), self.max_distance)
        # Indexed by key − query + max_distance. Keys ahead are in the other half, or all in the first bucket.
        ahead = side + word.buckets // 2 if both_sides else torch.zeros_like(side)
        self.table: list[int] = torch.cat((side.flip(0), ahead[1:])).tolist()

    def forward(self, query_BS: Tensor, keys: int) -> Tensor:
        """Positions of the queries, int64 [B, S], and the number of keys T, at 0 … T − 1 → buckets, int64 [B, S, T]."""
        device = query_BS.device
        distance_BST = torch.arange(keys, device=device) - query_BS[:, :, None]
        table = torch.tensor(self.table).to(device)
        return table[distance_BST.clamp(-self.max_distance, self.max_distance) + self.max_distance]
