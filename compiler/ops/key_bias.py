"""Biases that a cache has for its keys, as biases on scores.

Shape suffixes as in `archc.compiler.ops.operators`; G query heads share a key/value head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from archc.compiler.graph.builder import op
from archc.compiler.ops.registry import translates


@custom_op("archc::key_bias", mutates_args=())
def key_bias(bias_BKC1: Tensor, mask_B1ST: Tensor, groups: int) -> Tensor:
    """Return the biases of the live keys, the first T of the cache, for each query head: [B, K · G, 1, T]."""
    live_BK1T = bias_BKC1[:, :, : mask_B1ST.shape[-1]].permute(0, 1, 3, 2)
    return live_BK1T.repeat_interleave(groups, dim=1)


@key_bias.register_fake
def _(bias_BKC1: Tensor, mask_B1ST: Tensor, groups: int) -> Tensor:
    batch, heads = bias_BKC1.shape[:2]
    return bias_BKC1.new_empty(batch, heads * groups, 1, mask_B1ST.shape[-1])


@translates(torch.ops.archc.key_bias.default)
def _key_bias(bias: Any, mask: Any, groups: int) -> Any:
    live = op.Slice(bias, op.ints(0), op.Shape(mask, start=3, end=4), op.ints(2))
    heads = [head for head in range(int(bias.shape[1])) for _ in range(groups)]
    return op.Gather(op.Transpose(live, perm=[0, 1, 3, 2]), op.ints(*heads), axis=1)
