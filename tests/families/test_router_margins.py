"""Margins of routers and indexers, compared with values computed by hand."""

from __future__ import annotations

import math

import pytest
import torch

from archc.archspec import vocabulary as words
from archc.compiler.modules.attention.indexer import KeyIndexer, PooledBlockIndexer
from archc.compiler.modules.layer_inputs import LayerInputs
from archc.compiler.modules.mlp.experts import Router
from tests.families.router_margins import key_margin, smallest_margin

EXPERT = words.PlainMlp(width=2, activation="relu")


def margin(logits: list[float], per_token: int, bias: list[float] | None = None, **options: object) -> float:
    """Return the margin of one token of width 1 whose value is 1."""
    word = words.MoeMlp(experts=len(logits), per_token=per_token, router=words.Router(**options), expert=EXPERT)
    router = Router(word, 1)
    with torch.no_grad():
        router.projection.weight.copy_(torch.tensor(logits)[:, None])
        if router.selection_bias is not None and bias is not None:
            router.selection_bias.copy_(torch.tensor(bias))
        return float(smallest_margin(router, torch.ones(1, 1, 1)))


def test_margin_of_the_last_chosen_expert() -> None:
    assert margin([4.0, 1.0, 2.0, 1.5], 2) == pytest.approx(0.5 / 4)
    assert margin([4.0, 1.0, 2.0, 1.5], 1) == pytest.approx(2 / 4)
    assert margin([1.0, -8.0, 0.5], 1) == pytest.approx(0.5 / 8), "a large negative logit is rounded as much"
    assert margin([4.0, 1.0], 2) == math.inf, "no expert is rejected"


def test_margin_of_sigmoids_includes_the_selection_bias() -> None:
    half, more = 0.5, 1 / (1 + math.exp(-1))
    assert margin([0.0, 1.0], 1, [0.3, 0.0], score="sigmoid", selection_bias=True) == pytest.approx(
        (half + 0.3 - more) / (half + 0.3)
    )


def test_margin_of_groups() -> None:
    groups = {"count": 2, "chosen": 1, "by": "max"}
    # Groups lead by 1 of 10; in the group that won, 10 leads 2.
    assert margin([10.0, 2.0, 9.0, 8.0], 1, groups=groups) == pytest.approx(1 / 10)
    # Groups lead by 8 of 10; in the group that won, 10 leads 9.5.
    assert margin([10.0, 9.5, 2.0, 1.0], 1, groups=groups) == pytest.approx(0.5 / 10)


def test_margin_of_means_of_blocks() -> None:
    word = words.PooledBlockIndexer(heads=1, head_dim=1, block=2, blocks=1, norm=words.NoNorm())
    indexer = PooledBlockIndexer(word, 1, 1, torch.float32)
    for parameter in indexer.parameters():
        parameter.data.fill_(1.0)
    keys, causal = torch.tensor([[[9.0], [1.0], [7.0], [1.0], [2.0]]]), torch.ones(1, 1, 5, 5).tril().bool()
    with torch.no_grad():
        # The last two queries read one of the means 5 and 4, the others have one whole block at most.
        margin = key_margin(indexer, keys, keys, LayerInputs(causal))
        assert margin.tolist() == pytest.approx([1 / 5])


def test_margin_of_keys() -> None:
    word = words.KeyIndexer(heads=1, head_dim=1, keys=2, norm=words.NoNorm())
    indexer = KeyIndexer(word, 1, 1, torch.float32)
    for parameter in indexer.parameters():
        parameter.data.fill_(1.0)
    keys, causal = torch.tensor([[[9.0], [1.0], [8.0]]]), torch.ones(1, 1, 3, 3).tril().bool()
    with torch.no_grad():
        # The last query attends to 9, 1 and 8, the others to no more keys than are chosen.
        margin = key_margin(indexer, keys, torch.ones(1, 3, 1), LayerInputs(causal))
        assert margin.tolist() == pytest.approx([7 / 9])
