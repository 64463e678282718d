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
def _(q_BWSI: Tensor, k_B1CI: Tensor, weights_BSW: Tensor, mask_B1ST: Tensor, *_: object) -> Tensor:
    return torch.empty_like(mask_B1ST)


@translates(torch.ops.archc.select_keys.default)
def _select_keys(q: Any, k: Any, weights: Any, mask: Any, keys: int, cached: bool = False) -> Any:
    return op.SelectKeys(q, k, weights, mask, keys=keys, cached=int(cached), domain=ARCHC)


def block_scores(q_BWSI: Tensor, k_B1CI: Tensor, mask_B1ST: Tensor, block: int, last: int) -> Tensor:
    """Return the scores of N blocks of keys in float32, [B, W, S, N]: ∞ for the last ones, lowest for masked ones."""
    live = mask_B1ST.shape[-1]
    count = -(-live // block)
    scores_BWST = (q_BWSI @ k_B1CI[:, :, :live].transpose(-1, -2)).float()
    scores_BWST = scores_BWST.masked_fill(~mask_B1ST, torch.finfo(torch.float32).min)
    padded = torch.nn.functional.pad(scores_BWST, (0, count * block - live), value=torch.finfo(torch.float32).min)
    best_BWSN = padded.unflatten(-1, (count, block)).amax(-1)
    own_B1S1 = (mask_B1ST * torch.arange(live)).amax(-1, keepdim=True) // block
    behind = own_B1S1 - torch.arange(count)
    return best_BWSN.masked_fill((behind >= 0) & (behind < last), torch.inf)


@custom_op("archc::select_blocks", mutates_args=())
def select_blocks(
    q_BWSI: Tensor,
    k_B1CI: Tensor,
    mask_B1ST: Tensor,
    heads: int,
    block: int,
    blocks: int,
    last: int,
    cached: bool = False,
) -> Tensor:
    """Return the mask of each of `heads` heads without all but the `blocks` best blocks of keys, [B, H, S, T].

    The score of a block is the largest q · k of its attended keys, in float32; the `last` blocks up to that of the last
    attended key come first. Head h of the attention reads the selection of head h // (H / W); of equal scores the first
    blocks are selected. Cached keys are as in `select_keys`.
    """
    best_BWSN = block_scores(q_BWSI, k_B1CI, mask_B1ST, block, last)
    live, count = mask_B1ST.shape[-1], best_BWSN.shape[-1]
    order = best_BWSN.sort(dim=-1, descending=True, stable=True).indices[..., : min(blocks, count)]
    chosen_BWSN = torch.zeros_like(best_BWSN, dtype=torch.bool).scatter(-1, order, True)
    chosen_BWST = chosen_BWSN.repeat_interleave(block, dim=-1)[..., :live] & mask_B1ST
    return chosen_BWST.repeat_interleave(heads // q_BWSI.shape[1], dim=1)


@select_blocks.register_fake
def _(q_BWSI: Tensor, k_B1CI: Tensor, mask_B1ST: Tensor, heads: int, *_: object) -> Tensor:
    return mask_B1ST.new_empty(mask_B1ST.shape[0], heads, *mask_B1ST.shape[2:])


@translates(torch.ops.archc.select_blocks.default)
def _select_blocks(
    q: Any, k: Any, mask: Any, heads: int, block: int, blocks: int, last: int, cached: bool = False
) -> Any:
    options = {"heads": heads, "block": block, "blocks": blocks, "last": last, "cached": int(cached)}
    return op.SelectBlocks(q, k, mask, **options, domain=ARCHC)


def whole_block_scores(
    q_BWSI: Tensor, k_B1CI: Tensor, mask_B1ST: Tensor, weights_BSW: Tensor | None, block: int
) -> tuple[Tensor, Tensor]:
    """Return the scores of the whole blocks of T keys in float32, [B, 1, S, N], and which of them a query may read."""
    ends = slice(block - 1, mask_B1ST.shape[-1], block)
    whole_B1SN = mask_B1ST[..., ends]
    products_BWSN = (q_BWSI @ k_B1CI[:, :, ends].transpose(-1, -2)).float().relu()
    if weights_BSW is not None:
        products_BWSN = products_BWSN * weights_BSW.float().transpose(1, 2)[..., None]
    scores_B1SN = products_BWSN.sum(1, keepdim=True)
    return scores_B1SN.masked_fill(~whole_B1SN, torch.finfo(torch.float32).min), whole_B1SN


@custom_op("archc::select_whole_blocks", mutates_args=())
def select_whole_blocks(
    q_BWSI: Tensor,
    k_B1CI: Tensor,
    mask_B1ST: Tensor,
    weights_BSW: Tensor | None,
    block: int,
    blocks: int,
    cached: bool = False,
) -> Tensor:
    """Return the mask of the `blocks` best whole blocks of keys of each query, and of all keys after the last one.

    The key of a block is in the slot of its last token, and its score is Σ_w weight_w · ReLU(q_w · k), in float32, with
    weights 1 if there are none; of equal scores the first blocks are selected. A query may read a block whose last key
    the mask has. Cached keys are as in `select_keys`.
    """
    scores_B1SN, whole_B1SN = whole_block_scores(q_BWSI, k_B1CI, mask_B1ST, weights_BSW, block)
    count = scores_B1SN.shape[-1]
    order = scores_B1SN.sort(dim=-1, descending=True, stable=True).indices[..., : min(blocks, count)]
    chosen_B1SN = torch.zeros_like(whole_B1SN).scatter(-1, order, True)
    left_out = (whole_B1SN & ~chosen_B1SN).repeat_interleave(block, dim=-1)
    return mask_B1ST & ~torch.nn.functional.pad(left_out, (0, mask_B1ST.shape[-1] - count * block))


@select_whole_blocks.register_fake
def _(q_BWSI: Tensor, k_B1CI: Tensor, mask_B1ST: Tensor, *_: object) -> Tensor:
    return torch.empty_like(mask_B1ST)


@translates(torch.ops.archc.select_whole_blocks.default)
def _select_whole_blocks(q: Any, k: Any, mask: Any, weights: Any, block: int, blocks: int, cached: bool = False) -> Any:
    return op.SelectWholeBlocks(q, k, mask, weights, block=block, blocks=blocks, cached=int(cached), domain=ARCHC)
