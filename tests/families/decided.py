"""Prompts on which every router decides clearly: between two experts of one score, rounding alone would choose.

A router is no continuous function. Where the last expert that it takes leads the first that it leaves by less than
float16 can move their scores, a computation in float16 may take the other one and be right; outputs of such rows say
nothing about its precision, so rows are drawn until there are enough of others.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from archc.compiler.modules.mlp.experts import Router
from tests.families.built import Built
from tests.families.case import Ids
from tests.families.checks import torch_outputs

LEAD = 1e-2
"""By how much a choice must lead, as a part of the row's largest score: twenty times the rounding of a float16."""
_DRAWN = 1024


def decided_rows(built: Built, rows: Ids) -> tuple[Ids, int]:
    """The first rows of those drawn as `rows` were that no router finds near a tie, and how many were left out."""
    if not any(isinstance(module, Router) for module in built.module.modules()):
        return rows, 0
    drawn = built.ids(_DRAWN, len(rows[0]))
    assert list(map(list, rows)) == drawn[: len(rows)]
    clear = np.flatnonzero(leads(built, drawn) > LEAD)[: len(rows)]
    assert len(clear) == len(rows), f"{built.family}: its routers find {len(clear)} of {_DRAWN} prompts clear"
    return [drawn[index] for index in clear], int(clear[-1]) + 1 - len(rows)


def leads(built: Built, rows: Ids) -> NDArray[np.float64]:
    """The least lead of any choice that the routers of the torch module, in float32, make in each row."""
    least = np.full(len(rows), np.inf)

    def note(router: nn.Module, given: tuple[Any, ...], _: object) -> None:
        assert isinstance(router, Router)
        np.minimum(least, least_lead(router, given[0]).numpy(), out=least)

    hooks = [
        module.register_forward_hook(partial(note)) for module in built.module.modules() if isinstance(module, Router)
    ]
    try:
        torch_outputs(built.module, rows, None)
    finally:
        for hook in hooks:
            hook.remove()
    return least


def least_lead(router: Router, x_BSN: Tensor) -> Tensor:
    """By how much the closest choice of each row leads [B], among experts and among their groups."""
    # A softmax keeps the order of its logits, which are what rounding moves by a part of their size.
    groups = router.word.groups
    monotone = groups is None or groups.by == "max"
    logits_BSE = router.projection(x_BSN.float())
    plain = router.word.score == "softmax" and router.selection_bias is None and monotone
    scores_BSE = logits_BSE if plain else router.scores(logits_BSE)
    found = [_lead(router.selection_scores(scores_BSE), router.per_token)]
    if groups is not None:
        biased = scores_BSE if router.selection_bias is None else scores_BSE + router.selection_bias
        best = biased.unflatten(-1, (groups.count, -1)).topk(1 if groups.by == "max" else 2, dim=-1).values
        found.append(_lead(best.sum(-1), groups.chosen))
    return torch.stack(found).amin(dim=(0, 2))


def _lead(scores: Tensor, count: int) -> Tensor:
    """The last chosen's lead on the first left out, as a part of the largest score: [B, S]."""
    if count == scores.shape[-1]:
        return torch.full(scores.shape[:-1], torch.inf)
    best = scores.topk(count + 1, dim=-1).values
    in_play = scores > torch.finfo(scores.dtype).min  # what lost with its group has no score
    return (best[..., -2] - best[..., -1]) / (scores.abs() * in_play).amax(-1)
