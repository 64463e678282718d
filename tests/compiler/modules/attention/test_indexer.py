"""Sparse indexers against numbers worked out by hand, and attention over the keys that they select."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.contract.state import layer_state
from archc.compiler.modules.attention.attention import Attention
from archc.compiler.modules.attention.block_pools import WeightedBlockPool, sums_of_last
from archc.compiler.modules.attention.indexer import BlockIndexer, KeyIndexer, PooledBlockIndexer
from archc.compiler.modules.attention.latent_attention import LatentAttention
from archc.compiler.modules.layer_inputs import LayerInputs
from archc.compiler.ops.key_selection import select_blocks, select_keys, select_whole_blocks
from tests.compiler.modules.values import filled, random_parameters

SMALL: dict[str, Any] = {"heads": 2, "head_dim": 1, "keys": 2, "norm": words.NoNorm()}


def causal(length: int) -> Tensor:
    return torch.ones(1, 1, length, length).tril().bool()


def selected(mask: Tensor) -> list[list[int]]:
    return [row.nonzero().flatten().tolist() for row in mask[0, 0]]


def test_heads_are_cut_off_at_zero_and_weighted() -> None:
    word = words.KeyIndexer(**SMALL)
    parameters = {"q.weight": [[1, 0], [-1, 0]], "k.weight": [[0, 1]], "weights.weight": [[1, 0], [3, 0]]}
    indexer = filled(KeyIndexer(word, 2, 2, torch.float32), parameters)
    x = torch.tensor([[[1.0, -1.0], [1.0, 2.0], [1.0, 1.0], [1.0, -2.0]]])
    # Scores of a query (1, ·): the key k has 1 · ReLU(k) + 3 · ReLU(−k), here 3, 2, 1 and 6.
    present = indexer(x, x, LayerInputs(causal(4)), {})
    assert selected(present["selected"]) == [[0], [0, 1], [0, 1], [0, 3]]
    # Queries of the other sign: the heads change places, and the scores are 1, 6, 3 and 2.
    present = indexer(x, -x, LayerInputs(causal(4)), {})
    assert selected(present["selected"]) == [[0], [0, 1], [1, 2], [1, 2]]


def test_queries_and_keys_are_normed_and_their_first_dims_rotate() -> None:
    norm = words.LayerNorm(eps=1e-6)
    word = words.KeyIndexer(heads=1, head_dim=3, keys=1, norm=norm, query_norm=words.RmsNorm(eps=1.0))
    indexer = random_parameters(KeyIndexer(word, 4, 5, torch.float32))
    x, source = torch.randn(1, 2, 4), torch.randn(1, 2, 5)
    angles = torch.tensor([0.3, 1.1]).reshape(1, 2, 1)
    inputs = LayerInputs(causal(2), torch.tensor([1]), cos_BSR=angles.cos(), sin_BSR=angles.sin())
    present = indexer(x, source, inputs, {"indexer.key": torch.zeros(1, 1, 3, 3)})
    k = nn.functional.layer_norm(x @ indexer.k.weight.T, (3,), indexer.k_norm.weight, indexer.k_norm.bias, 1e-6)
    turned = torch.stack((k[..., 0] * angles[..., 0].cos() - k[..., 1] * angles[..., 0].sin(),), dim=-1)
    torch.testing.assert_close(present["indexer.key"][:, 0, 1:, :1], turned, rtol=0, atol=1e-4)
    torch.testing.assert_close(present["indexer.key"][:, 0, 1:, 2], k[..., 2], rtol=0, atol=1e-4)
    assert list(indexer.q_input_norm.weight.shape) == [5]


def test_learned_factors_scale_each_head_of_the_queries() -> None:
    word = words.KeyIndexer(**SMALL | {"query_scale": True})
    indexer = random_parameters(KeyIndexer(word, 2, 2, torch.float32))
    x, logs = torch.randn(1, 3, 2), torch.arange(1.0, 4.0).log().reshape(1, 1, 3, 1)
    queries, _, _ = indexer.operands(x, x, LayerInputs(causal(3), query_scale_B1S1=logs))
    for head in range(2):
        for place in range(3):
            factor = indexer.query_scale.slope[head] * math.log(place + 1) + indexer.query_scale.offset[head]
            torch.testing.assert_close(queries[0, head, place], factor * (indexer.q.weight[head] @ x[0, place])[None])


def test_the_last_dims_of_queries_and_keys_may_rotate() -> None:
    word = words.KeyIndexer(heads=1, head_dim=3, keys=1, norm=words.NoNorm())
    indexer = random_parameters(KeyIndexer(word, 4, 4, torch.float32))
    x, angles = torch.randn(1, 2, 4), torch.tensor([0.3, 1.1]).reshape(1, 2, 1)
    inputs = LayerInputs(causal(2), cos_BSR=angles.cos(), sin_BSR=angles.sin(), rotates_last=True)
    q, k, _ = indexer.operands(x, x, inputs)
    for rotated, projection in ((q, indexer.q), (k, indexer.k)):
        kept, first, second = (x @ projection.weight.T)[0].unbind(-1)
        cos, sin = angles.flatten().cos(), angles.flatten().sin()
        expected = torch.stack((kept, first * cos - second * sin, first * sin + second * cos), dim=-1)
        torch.testing.assert_close(rotated[0, 0], expected)


def test_of_equal_scores_the_first_keys_are_selected() -> None:
    q, weights = torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1)
    mask = torch.tensor([False, True, True, True]).reshape(1, 1, 1, 4)
    assert selected(select_keys(q, torch.ones(1, 1, 4, 1), weights, mask, 2)) == [[1, 2]]


def test_no_key_is_selected_that_the_mask_hides() -> None:
    q, weights = torch.ones(1, 1, 2, 1), -torch.ones(1, 2, 1)
    keys = torch.tensor([1.0, 5.0, 2.0, 9.0, 7.0]).reshape(1, 1, 5, 1)
    mask = torch.tensor([[True, True, False, False], [True] * 4])[None, None]
    # Negative scores, and a fifth slot that is not live.
    assert selected(select_keys(q, keys, weights, mask, 3, True)) == [[0, 1], [0, 1, 2]]


def attentions(keys: int | None) -> dict[str, nn.Module]:
    """Attention of both kinds, with the same parameters whatever its indexer selects."""
    indexer = None if keys is None else words.KeyIndexer(heads=3, head_dim=4, keys=keys, norm=words.NoNorm())
    grouped = words.GroupedQueryAttention(heads=4, kv_heads=2, head_dim=4, indexer=indexer)
    latent = words.LatentAttention(
        heads=2, latent=5, query_latent=7, nope_dim=4, rope_dim=2, value_dim=3, norm=words.NoNorm(), indexer=indexer
    )
    modules = {
        "grouped": Attention(grouped, words.NoPosition(), 6, torch.float32),
        "latent": LatentAttention(latent, words.NoPosition(), 6, torch.float32),
    }
    for module in modules.values():
        others_first = sorted(module.named_parameters(), key=lambda item: "indexer" in item[0])
        for index, (_, parameter) in enumerate(others_first):
            parameter.data = 0.4 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(index))
    return modules


@pytest.mark.parametrize("kind", ["grouped", "latent"])
def test_attention_reads_the_selected_keys_alone(kind: str) -> None:
    x = torch.randn(1, 7, 6, generator=torch.Generator().manual_seed(0))
    dense, sparse, all_keys = (attentions(keys)[kind] for keys in (None, 3, 7))
    whole, _ = dense(x, LayerInputs(causal(7)), {})
    y, present = sparse(x, LayerInputs(causal(7)), {})
    torch.testing.assert_close(all_keys(x, LayerInputs(causal(7)), {})[0], whole)
    torch.testing.assert_close(y[:, :3], whole[:, :3])
    assert (y[:, 3:] - whole[:, 3:]).abs().amax(-1).min() > 1e-3
    mask = present["selected"]
    assert mask.sum(-1).flatten().tolist() == [1, 2, 3, 3, 3, 3, 3]
    torch.testing.assert_close(dense(x, LayerInputs(mask), {})[0], y)
    earlier = LayerInputs(causal(7), cross_layer={"selected": mask})
    torch.testing.assert_close(dense(x, earlier, {})[0], y)


@pytest.mark.parametrize("kind", ["grouped", "latent"])
def test_steps_over_a_cache_equal_the_whole(kind: str) -> None:
    x, module = torch.randn(1, 7, 6), attentions(3)[kind]
    whole, _ = module(x, LayerInputs(causal(7)), {})
    layer = words.Layer(norm=words.NoNorm(), position=words.NoPosition(), attention=module.word)
    states = layer_state(layer, 6, "float32")
    assert states["indexer.key"].kind == "kv"
    sizes = {"batch": 1, "capacity": 9}
    state = {name: torch.zeros([sizes.get(n, n) for n in kind.tensor.shape]) for name, kind in states.items()}
    for begin, end in ((0, 4), (4, 5), (5, 7)):
        inputs = LayerInputs(causal(7)[:, :, begin:end, :end], torch.tensor([begin]))
        y, state = module(x[:, begin:end], inputs, state)
        state = {name: state[name] for name in states}
        torch.testing.assert_close(y, whole[:, begin:end])


def test_the_source_of_a_selection_is_the_nearest_layer_with_an_indexer() -> None:
    own = words.KeyIndexer(**SMALL)
    layers = [
        words.Layer(
            norm=words.NoNorm(),
            position=words.NoPosition(),
            attention=words.GroupedQueryAttention(heads=2, kv_heads=1, head_dim=2, indexer=indexer),
        )
        for indexer in (words.EarlierIndexer(), own, words.EarlierIndexer(), None, words.EarlierIndexer(), own)
    ]
    assert words.indexer_sources(layers) == {0: None, 2: 1, 4: 1}


def test_groups_of_heads_read_the_best_blocks_and_the_last() -> None:
    keys = torch.tensor([3.0, -9.0, 1.0, 2.0, -4.0, 0.0, 1.0]).reshape(1, 1, 7, 1)
    q = torch.tensor([1.0, -1.0]).reshape(1, 2, 1, 1)
    mask = torch.tensor([True] * 6 + [False]).reshape(1, 1, 1, 7)
    # Blocks of two keys up to the sixth: largest products 3, 2, 0, and 9, −1, 4 of the other head.
    for last, first_head, second_head in ((0, [0, 1, 2, 3], [0, 1, 4, 5]), (1, [0, 1, 4, 5], [0, 1, 4, 5])):
        selection = select_blocks(q, keys, mask, 4, 2, 2, last)
        assert [head[0].nonzero().flatten().tolist() for head in selection[0]] == [first_head] * 2 + [second_head] * 2


def test_a_block_indexer_norms_its_heads_and_writes_its_cache() -> None:
    word = words.BlockIndexer(heads=2, head_dim=4, block=2, blocks=1, norm=words.RmsNorm(eps=1.0, unit_offset=True))
    indexer = random_parameters(BlockIndexer(word, 4, 5, torch.float32))
    x = torch.randn(1, 4, 5, generator=torch.Generator().manual_seed(1))
    whole = indexer(x, x, LayerInputs(causal(4)), {})
    # One block is that of the query.
    assert [row.nonzero().flatten().tolist() for row in whole["selected"][0, 3]] == [[0], [0, 1], [2], [2, 3]]
    inputs = LayerInputs(causal(4), torch.tensor([1]))
    present = indexer(x, x, inputs, {"indexer.key": torch.zeros(1, 1, 5, 4)})
    k = x @ indexer.k.weight.T
    normed = k / (k.square().mean(-1, keepdim=True) + 1).sqrt() * (1 + indexer.k_norm.weight)
    torch.testing.assert_close(present["indexer.key"][0, 0, 1:], normed[0])


def test_the_best_whole_blocks_and_the_keys_after_them_are_selected() -> None:
    q = torch.ones(1, 2, 1, 1)
    # Keys at the ends of the blocks of two: 1, 4 and 3; the last query has one more key.
    keys = torch.tensor([9.0, 1.0, 9.0, 4.0, 9.0, 3.0, 9.0]).reshape(1, 1, 7, 1)
    for live, expected in ((7, [2, 3, 6]), (6, [2, 3]), (5, [2, 3, 4]), (3, [0, 1, 2]), (1, [0])):
        mask = (torch.arange(7) < live).reshape(1, 1, 1, 7)
        assert selected(select_whole_blocks(q, keys, mask, None, 2, 1)) == [expected]


@pytest.mark.parametrize("count", [2, 3, 4, 7])
def test_sums_of_the_last_vectors(count: int) -> None:
    x = torch.arange(9.0).square().reshape(1, 9, 1)
    expected = [float(sum(i * i for i in range(start, start + count))) for start in range(10 - count)]
    assert sums_of_last(x, count).flatten().tolist() == expected


def test_means_of_blocks_rotate_with_their_first_token() -> None:
    word = words.PooledBlockIndexer(heads=1, head_dim=3, block=2, blocks=1, norm=words.RmsNorm(eps=1.0))
    indexer = random_parameters(PooledBlockIndexer(word, 4, 4, torch.float32))
    x, angles = torch.randn(1, 4, 4), torch.tensor([0.3, 1.1, 1.9, 2.7]).reshape(1, 4, 1)
    inputs = LayerInputs(causal(4), cos_BSR=angles.cos(), sin_BSR=angles.sin())
    _, keys, _ = indexer.operands(x, x, inputs, {})
    for end in (1, 3):
        mean = (x @ indexer.k.weight.T)[:, end - 1 : end + 1].mean(1)
        k = nn.functional.rms_norm(mean, (3,), indexer.k_norm.weight, 1.0)[0]
        cos, sin = angles[0, end - 1].cos(), angles[0, end - 1].sin()
        expected = torch.stack((k[0] * cos[0] - k[1] * sin[0], k[1] * cos[0] + k[0] * sin[0], k[2]))
        torch.testing.assert_close(keys[0, 0, end], expected)


def test_weights_of_heads_may_be_negative() -> None:
    q, keys = torch.tensor([1.0, -1.0]).reshape(1, 2, 1, 1), torch.tensor([9.0, 1, 9, 4, 9, -3, 9]).reshape(1, 1, 7, 1)
    mask = torch.ones(1, 1, 1, 7).bool()
    # Keys at the ends of the blocks of two are 1, 4 and −3: the first head has 1, 4 and 0, the second 0, 0 and 3.
    for weights, expected in (([1.0, 1.0], [2, 3, 6]), ([1.0, 2.0], [4, 5, 6]), ([-1.0, -2.0], [0, 1, 6])):
        given = torch.tensor(weights).reshape(1, 1, 2)
        assert selected(select_whole_blocks(q, keys, mask, given, 2, 1)) == [expected]


def test_the_weights_of_a_pool_are_a_softmax_over_the_block_by_channel() -> None:
    pool = random_parameters(WeightedBlockPool(3, 2, 4, torch.float32))
    pool.requires_grad_(False)
    k, x = torch.randn(1, 5, 2), torch.randn(1, 5, 4)
    pooled = pool(pool.parts(k, x))
    assert list(pooled.shape) == [1, 3, 2]
    for last in range(2, 5):
        for channel in range(2):
            logits = [
                float(pool.projection.weight[channel] @ x[0, last - 2 + place] + pool.bias[place, channel])
                for place in range(3)
            ]
            shares = [math.exp(logit) / sum(map(math.exp, logits)) for logit in logits]
            keys = [float(k[0, last - 2 + place, channel]) for place in range(3)]
            expected = sum(share * key for share, key in zip(shares, keys, strict=True))
            assert float(pooled[0, last - 2, channel]) == pytest.approx(expected, abs=1e-6)


def test_keys_are_normed_before_the_pooling_or_after() -> None:
    options = {"heads": 1, "head_dim": 3, "block": 2, "blocks": 1, "norm": words.RmsNorm(eps=1.0)}
    x = torch.randn(1, 2, 4)
    for order in ("before", "after"):
        word = words.PooledBlockIndexer.model_validate(
            options | {"norm_order": order, "pool": {"kind": "weighted"}, "head_norm": words.RmsNorm(eps=2.0)}
        )
        indexer = random_parameters(PooledBlockIndexer(word, 4, 5, torch.float32))
        queries, keys, _ = indexer.operands(x, source := torch.randn(1, 2, 5), LayerInputs(causal(2)), {})
        k, scale = x @ indexer.k.weight.T, indexer.k_norm.weight
        shares = (x @ indexer.pool.projection.weight.T + indexer.pool.bias).softmax(1)
        mixed = (shares * (nn.functional.rms_norm(k, (3,), scale, 1.0) if order == "before" else k)).sum(1)
        expected = mixed if order == "before" else nn.functional.rms_norm(mixed, (3,), scale, 1.0)
        torch.testing.assert_close(keys[:, 0, 1], expected)
        by_head = nn.functional.rms_norm(source @ indexer.q.weight.T, (3,), indexer.q_norm.weight, 2.0)
        torch.testing.assert_close(queries[:, 0], by_head)


@pytest.mark.parametrize("rotates", [True, False], ids=["rope", "no-positions"])
@pytest.mark.parametrize(
    "changes",
    [{}, {"pool": {"kind": "weighted"}, "norm_order": "before", "head_weights": True}],
    ids=["means", "weighted"],
)
def test_steps_of_an_indexer_of_blocks_equal_the_whole(changes: dict[str, Any], rotates: bool) -> None:
    options = {"heads": 2, "head_dim": 4, "block": 3, "blocks": 1, "norm": words.RmsNorm(eps=1e-5)}
    word = words.PooledBlockIndexer.model_validate(options | changes)
    attention = words.GroupedQueryAttention(heads=2, kv_heads=1, head_dim=4, indexer=word)
    position = words.Rope(theta=100.0, dim=2) if rotates else words.NoPosition()
    layer = words.Layer(norm=words.NoNorm(), position=position, attention=attention)
    indexer = random_parameters(PooledBlockIndexer(word, 6, 6, torch.float32))
    x, angles = torch.randn(1, 11, 6), 0.7 * torch.arange(11.0).reshape(1, 11, 1)

    def rotation(begin: int, end: int) -> dict[str, Tensor]:
        here = angles[:, begin:end]
        return {"cos_BSR": here.cos(), "sin_BSR": here.sin()} if rotates else {}

    whole = indexer(x, x, LayerInputs(causal(11), **rotation(0, 11)), {})["selected"]
    assert whole.sum(-1).flatten().tolist() == [1, 2, 3, 4, 5, 3, 4, 5, 3, 4, 5]
    sizes = {"batch": 1, "capacity": 13}
    types = {name: kind.tensor.shape for name, kind in layer_state(layer, 6, "float32").items()}
    state = {name: torch.zeros([sizes.get(n, n) for n in types[name]]) for name in ("indexer.key", "indexer.tail")}
    for begin, end in ((0, 4), (4, 5), (5, 11)):
        rows = {**rotation(begin, end), "lengths_B": torch.tensor([end - begin])}
        inputs = LayerInputs(causal(11)[:, :, begin:end, :end], torch.tensor([begin]), **rows)
        present = indexer(x[:, begin:end], x[:, begin:end], inputs, state)
        assert present.pop("selected").equal(whole[:, :, begin:end, :end])
        state = present
