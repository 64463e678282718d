"""Memories of n-grams against numbers worked out by hand, and in steps."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
import torch

from archc.archspec import vocabulary as words
from archc.compiler.contract.ngram_tables import multipliers, primes, split_mix
from archc.compiler.contract.state import layer_state
from archc.compiler.modules.layer_inputs import LayerInputs
from archc.compiler.modules.memory.ngram_hash import NgramHash
from archc.compiler.modules.memory.ngram_memory import NgramMemory, signed_root
from tests.compiler.modules.values import random_parameters

SMALL: dict[str, Any] = {
    "order": 3, "heads": 2, "width": 8, "rows": 40, "index": 0, "seed": 7, "separator": 5, "kernel": 3,
    "norm": words.RmsNorm(eps=1e-5),
}  # fmt: skip
VOCAB = 97


def test_numbers_of_split_mix() -> None:
    # The first numbers of SplitMix64 with the seed 1234567, as its published test vectors have them.
    increment = 0x9E3779B97F4A7C15
    assert split_mix(1234567) == 6457827717110365317
    assert split_mix(1234567 + increment) == 3203168211198807973


def test_multipliers_are_odd_and_products_with_tokens_fit() -> None:
    found = multipliers(7, 5, VOCAB)
    assert all(number % 2 == 1 and number * (VOCAB - 1) < 2**63 for number in found)
    assert len(set(found)) == 5


def test_memories_have_the_primes_in_order() -> None:
    assert list(islice(primes(40), 6)) == [41, 43, 47, 53, 59, 61]
    first, second = (NgramHash(words.NgramMemory(**SMALL | {"index": index, "multiple": 8}), VOCAB) for index in (0, 1))
    assert (first.sizes, second.sizes[:2]) == ([41, 43, 47, 53], [59, 61])
    assert first.offsets == [0, 41, 84, 131]
    assert (sum(first.sizes), first.rows) == (184, 184)
    assert second.rows % 8 == 0
    assert first.multipliers != second.multipliers


def test_rows_are_remainders_of_an_exclusive_or() -> None:
    found = NgramHash(words.NgramMemory(**SMALL), VOCAB)
    a, b, c = found.multipliers
    for tokens in ((96, 3, 0), (1, 96, 95)):
        pair, triple = (tokens[0] * a) ^ (tokens[1] * b), (tokens[0] * a) ^ (tokens[1] * b) ^ (tokens[2] * c)
        expected = [pair % 41, 41 + pair % 43, 84 + triple % 47, 131 + triple % 53]
        assert found(torch.tensor([[tokens]])).flatten().tolist() == expected


def looked_up(ids: list[int], monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The tokens that each position of a text is hashed with."""
    memory = random_parameters(NgramMemory(words.NgramMemory(**SMALL), VOCAB, 1, 4, torch.float32))
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(memory, "hash", lambda history: seen.append(history) or torch.zeros(1, len(ids), 4).long())
    memory(torch.randn(1, len(ids), 4), LayerInputs(input_ids_BS=torch.tensor([ids])), {})
    found: list[list[int]] = seen[0][0].tolist()
    return found


def test_no_n_gram_goes_past_a_separator(monkeypatch: pytest.MonkeyPatch) -> None:
    assert looked_up([1, 2, 5, 3, 4], monkeypatch) == [[1, 5, 5], [2, 1, 5], [5, 2, 1], [3, 5, 5], [4, 3, 5]]


def test_a_signed_root() -> None:
    x = torch.tensor([4.0, -9.0, 0.0, 1e-9])
    assert signed_root(x).tolist() == pytest.approx([2.0, -3.0, 0.0, 1e-3])


@pytest.mark.parametrize("streams", [1, 2])
def test_steps_equal_the_whole(streams: int) -> None:
    word = words.NgramMemory(**SMALL)
    memory = random_parameters(NgramMemory(word, VOCAB, streams, 4, torch.float32))
    count = words.GatedStreams(count=2, rank=1, norm=word.norm) if streams == 2 else None
    layer = words.Layer(norm=words.NoNorm(), position=words.NoPosition(), streams=count, ngram_memory=word)
    types = layer_state(layer, 4, "float32")
    state = {
        name: torch.zeros(
            [1 if n == "batch" else n for n in kind.tensor.shape], dtype=getattr(torch, kind.tensor.dtype)
        )
        for name, kind in types.items()
    }
    x, ids = torch.randn(1, 12, streams * 4), torch.tensor([[1, 2, 5, 3, 4, 9, 8, 7, 96, 2, 2, 1]])
    whole, present = memory(x, LayerInputs(input_ids_BS=ids), {})
    assert present == {}
    assert whole.abs().amax(-1).min() > 1e-2
    for begin, end in ((0, 1), (1, 5), (5, 6), (6, 12)):
        lengths = torch.tensor([end - begin])
        y, state = memory(x[:, begin:end], LayerInputs(input_ids_BS=ids[:, begin:end], lengths_B=lengths), state)
        torch.testing.assert_close(y, whole[:, begin:end], rtol=1e-4, atol=1e-5)
