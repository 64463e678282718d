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


def rows_of_distances(span: int, max_distance: int | None) -> Tensor:
    """Return the row of each distance 0, 1, … to one side up to the first that is at least `span`, int64.

    Without `max_distance` the row is the distance. Otherwise distances up to n = span // 2 have one each, and a longer
    one, d, is in bucket n + ceil(ln(d / n) / ln((max_distance − 1) / n) · (n − 1)) (He et al. 2021, code of version 2).
    """
    if max_distance is None:
        return torch.arange(span + 1, device="cpu")
    half = span // 2
    distances = torch.arange(4 * max_distance + 4 * span, device="cpu")
    logs = (distances.clamp(min=half) / half).log() / torch.tensor((max_distance - 1) / half, device="cpu").log()
    rows = torch.where(distances <= half, distances, (logs * (half - 1)).ceil().long() + half)
    return rows[: int((rows < span).sum()) + 1].clamp(max=span)


class DistanceTable(nn.Module):
    """An entry for every query and key: `table[key − query + reach]`, for distances up to `reach` to either side."""

    def __init__(self, table: Tensor, both_sides: bool) -> None:
        super().__init__()
        self.reach, self.both_sides = len(table) // 2, both_sides
        self.table: list[int] = table.tolist()

    def forward(self, query_BS: Tensor, keys: int) -> Tensor:
        """Positions of the queries, int64 [B, S], and the number of keys T, at 0 … T − 1 → entries, int64 [B, S, T]."""
        device = query_BS.device
        distance_BST = torch.arange(keys, device=device) - query_BS[:, :, None]
        table = torch.tensor(self.table).to(device)
        return table[distance_BST.clamp(-self.reach, self.reach) + self.reach]


class DistanceRows(DistanceTable):
    """The row of a table of relative positions for every query and key (He et al. 2021, DeBERTa, eq. 3)."""

    def __init__(self, word: words.Disentangled) -> None:
        side = rows_of_distances(word.span, word.max_distance)
        # Keys ahead have the rows below span.
        rows = torch.cat((side.flip(0), -side[1:])) + word.span
        super().__init__(rows.clamp(0, 2 * word.span - 1), both_sides=True)


class RelativeBuckets(DistanceTable):
    """The bucket of every query and key, by the distance from the query to the key."""

    def __init__(self, word: words.RelativeBuckets, both_sides: bool) -> None:
        side = buckets_of_distances(word.buckets // (2 if both_sides else 1), word.max_distance)
        # Keys ahead are in the other half, or all in the first bucket.
        ahead = side + word.buckets // 2 if both_sides else torch.zeros_like(side)
        super().__init__(torch.cat((side.flip(0), ahead[1:])), both_sides)


def make_buckets(word: words.RelativeBuckets | words.Disentangled, both_sides: bool) -> DistanceTable:
    """Return the module of a position word that looks up distances."""
    return DistanceRows(word) if isinstance(word, words.Disentangled) else RelativeBuckets(word, both_sides)
