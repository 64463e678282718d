"""Disentangled attention against sums over pairs, as the paper writes them."""

from __future__ import annotations

import pytest
import torch

from archc.archspec import vocabulary as words
from archc.compiler.modules.attention.relative_table import DisentangledBias, RelativeTable
from archc.compiler.modules.basic.linear import Linear
from tests.compiler.modules.values import filled, random_parameters


@pytest.mark.parametrize("projections", ["own", "shared"])
@pytest.mark.parametrize(("keys", "queries"), [(True, True), (True, False), (False, True)])
def test_the_terms_of_positions(projections: str, keys: bool, queries: bool) -> None:
    bias = words.PositionBias(keys=keys and projections == "own", queries=queries and projections == "own")
    word = words.Disentangled.model_validate(
        {"span": 2, "projections": projections, "keys": keys, "queries": queries, "bias": bias}
    )
    module = random_parameters(DisentangledBias(word, 2, 3, 5, torch.float32))
    q, k, table = torch.randn(2, 2, 4, 3), torch.randn(2, 2, 4, 3), torch.randn(1, 4, 5)
    token_q, token_k = (random_parameters(Linear(5, 6, True, torch.float32), seed) for seed in (1, 2))
    rows = torch.tensor([[[2, 1, 0, 0], [3, 2, 1, 0], [3, 3, 2, 1], [3, 3, 3, 2]]])
    got = module(q, k, table, rows, token_q, token_k)
    of_keys = (module.k or token_k)(table[0]).unflatten(1, (2, 3))
    of_queries = (module.q or token_q)(table[0]).unflatten(1, (2, 3))
    for b, h, x, y in torch.cartesian_prod(torch.arange(2), torch.arange(2), torch.arange(4), torch.arange(4)):
        row = rows[0, x, y]
        expected = keys * (q[b, h, x] @ of_keys[row, h]) + queries * (k[b, h, y] @ of_queries[row, h])
        assert got[b, h, x, y].item() == pytest.approx(expected.item(), abs=1e-5)


def test_the_table_is_normed() -> None:
    word = words.Disentangled(span=2, norm=words.LayerNorm(eps=1.0, bias=False))
    values = {"weight": [[4.0, 2.0], [0.0, 0.0], [1.0, 1.0], [0.0, 2.0]], "norm.weight": [1.0, 2.0]}
    half = 0.5**0.5
    expected = [[half, -2 * half], [0, 0], [0, 0], [-half, 2 * half]]
    table = filled(RelativeTable(word, 2, torch.float32), values)()[0]
    assert table.flatten().tolist() == pytest.approx([number for row in expected for number in row])
