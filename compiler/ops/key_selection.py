"""Selection of the keys that a query attends to by the scores of an indexer, as one torch operator.

Shape suffixes as in `operators`, and: I width of an indexer's head, W heads of an indexer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from archc.compiler.graph.builder import op
from archc.compiler.graph.domains import ARCHC
from archc.compiler.ops.registry import translates


def key_scores(q_BWSI: Tensor, k_B1CI: Tensor, weights_BSW: Tensor, mask_B1ST: Tensor) -> Tensor:
    """Return the scores of the keys in float32, [B, 1, S, T], and the lowest number for masked ones."""
    products = (q_BWSI @ k_B1CI[:, :, : mask_B1ST.shape[-1]].transpose(-1, -2)).float().relu()
    scores_B1ST = (products * weights_BSW.float().transpose(1, 2)[..., None]).sum(1, keepdim=True)
    return scores_B1ST.masked_fill(~mask_B1ST, torch.finfo(torch.float32).min)


@custom_op("archc::select_keys", mutates_args=())
def select_keys(
    q_BWSI: Tensor, k_B1CI: Tensor, weights_BSW: Tensor, mask_B1ST: Tensor, keys: int, cached: bool = False
) -> Tensor:
    """Return the mask without all but the `keys` highest scores Σ_w weight_w · ReLU(q_w · k) of each query.

    DeepSeek-AI 2025, DeepSeek-V3.2-Exp, eq. 1. Scores are in float32; of equal ones the first keys are selected. The
    result is the mask itself if it has no more keys. Keys that are `cached` are a whole cache, of which the first T
    slots are live; otherwise C is T.
    """
    scores_B1ST = key_scores(q_BWSI, k_B1CI, weights_BSW, mask_B1ST)
    order = scores_B1ST.sort(dim=-1, descending=True, stable=True).indices[..., : min(keys, mask_B1ST.shape[-1])]
    return torch.zeros_like(mask_B1ST).scatter(-1, order, True) & mask_B1ST


@select_keys.register_fake
def _(
    q_BWSI: Tensor, k_B1CI: Tensor, weights_BSW: Tensor, mask_B1ST: Tensor, keys: int, cached: bool = False
) -> Tensor:
    return torch.empty_like(mask_B1ST)


@translates(torch.ops.archc.select_keys.default)
def _select_keys(q: Any, k: Any, weights: Any, mask: Any, keys: int, cached: bool = False) -> Any:
    return op.SelectKeys(q, k, weights, mask, keys=keys, cached=int(cached), domain=ARCHC)
