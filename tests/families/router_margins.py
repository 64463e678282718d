"""Prompts on which every router chooses its experts, and every indexer its keys, by a clear margin.

Neither choice is continuous. If the last chosen expert leads the first rejected one by less than the rounding error of
float16, a correct computation in float16 may choose the other expert. Outputs of such rows are no measure of precision,
so rows are drawn until there are enough with clear margins.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from archc.compiler.modules.attention.compression import CompressedKeyIndexer
from archc.compiler.modules.attention.indexer import BlockIndexer, KeyIndexer, PooledBlockIndexer
from archc.compiler.modules.mlp.experts import Router
from archc.compiler.ops.key_selection import block_scores, key_scores, whole_block_scores
from archc.proof.built import Built
from archc.proof.case import Ids
from archc.proof.checks import torch_outputs

MARGIN = 1e-2
"""Required lead of a choice, relative to the row's largest score: twenty times the rounding error of float16."""
_DRAWN = 1024
CHOOSING = (Router, KeyIndexer, BlockIndexer, PooledBlockIndexer, CompressedKeyIndexer)


def rows_with_clear_routing(built: Built, rows: Ids, sources: Ids | None = None) -> tuple[Ids, Ids | None, int]:
    """Return as many of the first random rows as `rows` that are far from a tie, and the number of rejected ones.

    Rows of an encoder-decoder have sources.
    """
    if not any(isinstance(module, CHOOSING) for module in built.module.modules()):
        return rows, sources, 0
    drawn = built.ids(_DRAWN, len(rows[0]))
    drawn_sources = None if sources is None else built.sources(_DRAWN, len(sources[0]))
    assert list(map(list, rows)) == drawn[: len(rows)]
    # A row with several of the lead tokens is shorter.
    whole = [index for index, row in enumerate(drawn) if len(row) == len(rows[0])]
    drawn = [drawn[index] for index in whole]
    drawn_sources = None if drawn_sources is None else [drawn_sources[index] for index in whole]
    clear = np.flatnonzero(routing_margins(built, drawn, drawn_sources) > MARGIN)[: len(rows)]
    assert len(clear) == len(rows), f"{built.family}: only {len(clear)} of {_DRAWN} prompts have clear routing"
    clear_sources = None if drawn_sources is None else [drawn_sources[index] for index in clear]
    return [drawn[index] for index in clear], clear_sources, int(clear[-1]) + 1 - len(rows)


def routing_margins(built: Built, rows: Ids, sources: Ids | None = None) -> NDArray[np.float64]:
    """Return the smallest margin [rows] of any router or indexer of the torch module, in float32."""
    smallest = np.full(len(rows), np.inf)

    def record(module: nn.Module, args: tuple[Any, ...], _: object) -> None:
        margin = smallest_margin(module, args[0]) if isinstance(module, Router) else key_margin(module, *args)
        np.minimum(smallest, margin.numpy(), out=smallest)

    choosing = [module for module in built.module.modules() if isinstance(module, CHOOSING)]
    hooks = [module.register_forward_hook(record) for module in choosing]
    try:
        torch_outputs(built.module, rows, None, sources)
    finally:
        for hook in hooks:
            hook.remove()
    return smallest


def smallest_margin(router: Router, x_BSN: Tensor) -> Tensor:
    """Return the margin of each row's closest choice [B], among experts and among their groups."""
    # A softmax keeps the order of its logits, and rounding errors are relative to the logits.
    groups = router.word.groups
    if router.by_token is not None:
        return torch.full(x_BSN.shape[:1], torch.inf)
    monotone = groups is None or groups.by == "max"
    logits_BSE = router.projection(x_BSN.float())
    plain = router.word.score == "softmax" and router.selection_bias is None and monotone
    scores_BSE = logits_BSE if plain else router.scores(logits_BSE)
    margins = [_margin(router.selection_scores(scores_BSE), router.per_token)]
    if groups is not None:
        biased = scores_BSE if router.selection_bias is None else scores_BSE + router.selection_bias
        best = biased.unflatten(-1, (groups.count, -1)).topk(1 if groups.by == "max" else 2, dim=-1).values
        margins.append(_margin(best.sum(-1), groups.chosen))
    return torch.stack(margins).amin(dim=(0, 2))


def key_margin(indexer: nn.Module, x_BSN: Tensor, source_BSQ: Tensor, *others: Any) -> Tensor:
    """Return the margin of each row's closest choice of a key or of a block of keys [B].

    The arguments are those of the indexer; the last ones are inputs and state.
    """
    if isinstance(indexer, CompressedKeyIndexer):
        blocks_B1SN, inputs = others[:2]
        operands = indexer.operands(x_BSN, source_BSQ, inputs, {})[:3]
        return _margin(key_scores(*operands, blocks_B1SN), indexer.word.keys).amin(dim=(1, 2))
    inputs = others[0]
    mask = inputs.mask_B1ST
    assert mask is not None
    if isinstance(indexer, BlockIndexer):
        word = indexer.word
        scores = block_scores(*indexer.operands(x_BSN, inputs), mask, word.block, word.last)
        return _margin(scores, word.blocks).amin(dim=(1, 2))
    if isinstance(indexer, PooledBlockIndexer):
        q_BWSI, k_B1SI, _ = indexer.operands(x_BSN, source_BSQ, inputs, {})
        scores, _ = whole_block_scores(q_BWSI, k_B1SI, mask, indexer.head_weights(x_BSN), indexer.word.block)
        return _margin(scores, indexer.word.blocks).amin(dim=(1, 2))
    assert isinstance(indexer, KeyIndexer)
    return _margin(key_scores(*indexer.operands(x_BSN, source_BSQ, inputs), mask), indexer.word.keys).amin(dim=(1, 2))


def _margin(scores: Tensor, count: int) -> Tensor:
    """Return the lead [B, S] of the last chosen score over the first rejected one, relative to the largest score.

    Experts of a rejected group and masked keys have the least number, blocks that are chosen anyway infinity.
    """
    if count >= scores.shape[-1]:
        return torch.full(scores.shape[:-1], torch.inf)
    best, in_play = scores.topk(count + 1, dim=-1).values, scores > torch.finfo(scores.dtype).min
    largest = scores.abs().masked_fill(~in_play | scores.isinf(), 0.0).amax(-1)
    lead = (best[..., -2] - best[..., -1]) / largest
    return lead.masked_fill(in_play.sum(-1) <= count, torch.inf)
