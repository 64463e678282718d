"""Keys and values of attention: normed values, values from keys, and those of an earlier layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from archc.archspec import vocabulary as words
from archc.compiler.modules.attention.attention import Attention
from archc.compiler.modules.layer_inputs import LayerInputs
from tests.compiler.modules.values import filled

X_BSN = torch.tensor([[[3.0, 4.0]]])
ONE = torch.ones(1, 1, 1, 1, dtype=torch.bool)
IDENTITY = [[1, 0], [0, 1]]


def attend(
    parameters: dict[str, Any], inputs: LayerInputs | None = None, **keys: Any
) -> tuple[list[float], dict[str, Tensor]]:
    """One head of two channels at one position, whose output is the value."""
    word = words.GroupedQueryAttention(heads=1, kv_heads=1, head_dim=2, **keys)
    module = filled(
        Attention(word, words.NoPosition(), 2, torch.float32),
        {"q.weight": IDENTITY, "o.weight": IDENTITY, **parameters},
    )
    y, present = module(X_BSN, inputs or LayerInputs(ONE), {})
    return y.flatten().tolist(), present


def test_values_are_normed_by_head() -> None:
    norm = words.RmsNorm(eps=1e-9, affine=False)
    y, present = attend({"k.weight": IDENTITY, "v.weight": [[0, 2], [2, 0]]}, value_norm=norm)
    # (8, 6) has the mean square 50.
    assert y == pytest.approx([8 / 50**0.5, 6 / 50**0.5])
    assert present["key"].flatten().tolist() == [3.0, 4.0]


def test_values_from_keys_are_neither_normed_as_keys_nor_rotated() -> None:
    norm = words.QkRmsNorm(eps=1e-9)
    norms = {"q_norm.weight": [1, 1], "k_norm.weight": [1, 1]}
    y, present = attend({"k.weight": [[2, 0], [0, 1]], **norms}, values="keys", qk_norm=norm)
    assert y == [6.0, 4.0]
    # (6, 4) has the mean square 26.
    assert present["key"].flatten().tolist() == pytest.approx([6 / 26**0.5, 4 / 26**0.5])


def test_values_of_an_earlier_layer() -> None:
    earlier = {"key": torch.ones(1, 1, 1, 2), "value": torch.tensor([[[[7.0, 9.0]]]])}
    y, present = attend({}, LayerInputs(ONE, cross_layer=earlier), keys_values="earlier")
    assert y == [7.0, 9.0]
    assert not present


def test_the_source_is_the_nearest_layer_of_its_kind() -> None:
    def layer(**keys: Any) -> words.Layer:
        attention = words.GroupedQueryAttention(heads=2, kv_heads=1, head_dim=2, **keys)
        return words.Layer(norm=words.NoNorm(), position=words.NoPosition(), attention=attention)

    layers = [
        layer(window=3), layer(window=3), layer(), layer(window=3, keys_values="earlier"),
        layer(keys_values="earlier"), layer(window=4, keys_values="earlier"),
    ]  # fmt: skip
    assert words.kv_sources(layers) == {3: 1, 4: 2, 5: None}
