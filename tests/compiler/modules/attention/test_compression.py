"""Compressed keys against numbers worked out by hand, and steps over their cache."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from archc.archspec import vocabulary as words
from archc.compiler.contract.state import layer_state
from archc.compiler.modules.attention.attention import Attention
from archc.compiler.modules.attention.compression import Compressor
from archc.compiler.modules.layer_inputs import LayerInputs
from archc.compiler.ops.key_blocks import mask_of_blocks, rows_of_blocks
from tests.compiler.modules.values import column, filled, random_parameters


def causal(length: int, window: int | None = None) -> Tensor:
    mask = torch.ones(1, 1, length, length).tril().bool()
    return mask if window is None else mask & ~mask.tril(-window)


def compressor(overlap: bool, **parameters: Any) -> Compressor:
    """One channel, in blocks of two tokens."""
    word = words.Compression(block=2, overlap=overlap, norm=words.NoNorm())
    module = filled(Compressor(word, words.NoNorm(), 1, 1, 1, torch.float32), parameters)
    assert isinstance(module, Compressor)
    return module


def test_a_key_is_a_sum_over_the_tokens_of_a_whole_block() -> None:
    # Weights of the first and second token are e^(x ln 2) · 1 and e^(x ln 2) · 3: 2^3 · 1 and 2^1 · 3, then 1 and 12.
    module = compressor(False, **{"key.weight": [[5]], "gate.weight": [[math.log(2)]], "bias": [[0], [math.log(3)]]})
    keys, _ = module(column(3, 1, 0, 2, 9), LayerInputs(), {}, "x", False)
    assert keys[0, 0, :2, 0].tolist() == pytest.approx([5 * (3 * 8 + 1 * 6) / 14, 5 * (0 + 2 * 12) / 13])


def test_an_overlap_reads_the_block_before_with_weights_of_its_own() -> None:
    # The part for the block before has keys 10 x and weights e^(x ln 2); the other one keys x, and weights 1 and 2.
    module = compressor(
        True,
        **{
            "key.weight": [[10], [1]],
            "gate.weight": [[math.log(2)], [0]],
            "bias": [[0, 0], [0, math.log(2)]],
        },
    )
    keys, _ = module(column(1, 2, 3, 4), LayerInputs(), {}, "x", False)
    first, second = (1 * 1 + 2 * 2) / 3, (10 * 2 + 20 * 4 + 3 * 1 + 4 * 2) / (2 + 4 + 1 + 2)
    assert keys[0, 0, :2, 0].tolist() == pytest.approx([first, second])


def test_a_key_rotates_with_the_first_token_of_its_block() -> None:
    word = words.Compression(block=2, norm=words.NoNorm())
    module = Compressor(word, words.NoNorm(), 1, 2, 2, torch.float32)
    values = {"key.weight": [[1, 0], [0, 1]], "gate.weight": [[0, 0], [0, 0]], "bias": [[0, 0], [0, 0]]}
    angles = torch.tensor([0.0, 1.0, 2.0, 3.0]).reshape(1, 4, 1)
    inputs = LayerInputs(cos_BSR=angles.cos(), sin_BSR=angles.sin())
    x = torch.tensor([[[5.0, 1.0], [1.0, 1.0], [2.0, 0.0], [4.0, 0.0]]])
    keys, _ = filled(module, values)(x, inputs, {}, "x", True)
    # Means (3, 1) at the angle 0, and (3, 0) at that of the third token.
    expected = [3.0, 1.0, 3 * math.cos(2), 3 * math.sin(2)]
    assert keys[0, 0, :2].flatten().tolist() == pytest.approx(expected)


def test_rows_up_to_the_end_of_each_block_of_a_call() -> None:
    # A call of 4 tokens at the positions 3 to 6 and 4 to 7, after two earlier ones: blocks of 3 end at 5, and at 5.
    x = torch.arange(6.0).expand(2, 6)[..., None]
    rows = rows_of_blocks(x, torch.tensor([3, 4]), 3, 3)[..., 0]
    assert rows[0, 0].tolist() == [2, 3, 4]
    assert rows[1, 0].tolist() == [1, 2, 3]
    assert rows.shape == (2, 2, 3)


def test_a_query_attends_to_blocks_that_end_up_to_its_own_position() -> None:
    blocks = mask_of_blocks(causal(5), 2)
    assert blocks[0, 0].int().tolist() == [[0, 0, 0], [1, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 0]]


INDEXER = words.CompressedKeyIndexer(heads=6, head_dim=4, keys=2, norm=words.RmsNorm(eps=1e-5))
COMPRESSIONS = {
    "blocks": words.Compression(block=3, norm=words.RmsNorm(eps=1e-5)),
    "overlap": words.Compression(block=2, overlap=True, norm=words.NoNorm()),
    "indexer": words.Compression(block=2, overlap=True, norm=words.NoNorm(), indexer=INDEXER),
}


def attention(compression: words.Compression | None, **keys: Any) -> tuple[words.Layer, Attention]:
    word = words.GroupedQueryAttention(
        heads=4, kv_heads=2, head_dim=6, values="rotated-keys", window=3, compression=compression, sinks=True, **keys
    )
    position = words.Rope(theta=30.0, dim=4)
    layer = words.Layer(norm=words.NoNorm(), position=position, attention=word)
    module = random_parameters(Attention(word, position, 5, torch.float32))
    assert isinstance(module, Attention)
    return layer, module


def at(begin: int, end: int, capacity: int | None = None) -> LayerInputs:
    """The inputs of a call of these positions."""
    angles = torch.arange(begin, end).reshape(1, -1, 1) * torch.tensor([1.0, 0.2])
    return LayerInputs(
        causal(end, 3)[:, :, begin:],
        None if capacity is None else torch.tensor([begin]),
        None if capacity is None else torch.tensor([end - begin]),
        cos_BSR=angles.cos(),
        sin_BSR=angles.sin(),
        past_mask_B1ST=causal(end)[:, :, begin:],
    )


@pytest.mark.parametrize("name", COMPRESSIONS)
@pytest.mark.parametrize("steps", [[11], [1] * 11, [4, 1, 1, 5], [2, 6, 3]], ids=str)
def test_steps_over_caches_equal_the_whole(name: str, steps: list[int]) -> None:
    layer, module = attention(COMPRESSIONS[name])
    x = torch.randn(1, 11, 5, generator=torch.Generator().manual_seed(1))
    whole, _ = module(x, at(0, 11), {})
    states = layer_state(layer, 5, "float32")
    block = COMPRESSIONS[name].block
    assert states["compressed.key"].kind == "block"
    sizes = {"batch": 1, "capacity": 11, f"capacity_{block}": 11 // block + 1}
    state = {
        name: torch.full([sizes.get(n, n) for n in kind.tensor.shape], 0.0 if kind.kind == "fixed" else 7.0)
        for name, kind in states.items()
    }
    begin = 0
    for step in steps:
        y, present = module(x[:, begin : begin + step], at(begin, begin + step, 11), state)
        state = {name: present[name] for name in states}
        torch.testing.assert_close(y, whole[:, begin : begin + step], rtol=0, atol=1e-5)
        begin += step


def test_padding_changes_neither_keys_nor_tails() -> None:
    layer, module = attention(COMPRESSIONS["indexer"])
    states = layer_state(layer, 5, "float32")
    sizes = {"batch": 1, "capacity": 9, "capacity_2": 5}
    state = {name: torch.zeros([sizes.get(n, n) for n in kind.tensor.shape]) for name, kind in states.items()}
    x = torch.randn(1, 6, 5, generator=torch.Generator().manual_seed(1))
    _, alone = module(x[:, :5], at(0, 5, 9), state)
    padded = at(0, 6, 9)
    _, present = module(x, LayerInputs(**{**vars(padded), "lengths_B": torch.tensor([5])}), state)
    for name in ("compressed.tail", "compressed.indexer.tail"):
        torch.testing.assert_close(present[name], alone[name])
    torch.testing.assert_close(present["compressed.key"][:, :, :2], alone["compressed.key"][:, :, :2])


def test_the_indexer_selects_among_compressed_keys() -> None:
    x = torch.randn(1, 11, 5, generator=torch.Generator().manual_seed(2))
    all_keys = COMPRESSIONS["indexer"].model_copy(update={"indexer": INDEXER.model_copy(update={"keys": 9})})
    (_, few), (_, every) = attention(COMPRESSIONS["indexer"]), attention(all_keys)
    # The same numbers in both.
    every.load_state_dict(few.state_dict())
    difference = (few(x, at(0, 11), {})[0] - every(x, at(0, 11), {})[0]).abs().amax(-1)[0]
    assert difference[:5].max() == 0
    assert difference[6:].min() > 1e-4
