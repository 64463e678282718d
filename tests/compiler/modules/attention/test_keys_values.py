"""Keys and values of attention: normed values, values from keys, and those of an earlier layer."""

from __future__ import annotations

import math
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


def test_values_that_are_rotated_keys_come_out_rotated_back() -> None:
    # Keys (3, 4) and (0, 1), as complex numbers 3 + 4i and i, at the angles 0 and 90°: values 3 + 4i and i · i = −1.
    # A query of zeros has their mean 1 + 2i, which (1 + 2i) · −i rotates back by 90° to 2 − i.
    word = words.GroupedQueryAttention(heads=1, kv_heads=1, head_dim=2, values="rotated-keys")
    position = words.Rope(theta=10.0, pairing="interleaved")
    values = {"q.weight": [[0, 0], [0, 0]], "k.weight": IDENTITY, "o.weight": IDENTITY}
    module = filled(Attention(word, position, 2, torch.float32), values)
    x = torch.tensor([[[3.0, 4.0], [0.0, 1.0]]])
    cos, sin = torch.tensor([[[1.0], [0.0]]]), torch.tensor([[[0.0], [1.0]]])
    mask = torch.tensor([[[[True, False], [True, True]]]])
    y, present = module(x, LayerInputs(mask, cos_BSR=cos, sin_BSR=sin), {})
    assert y.flatten().tolist() == pytest.approx([3.0, 4.0, 2.0, -1.0])
    assert list(present) == ["key"]


def test_keys_have_a_norm_of_their_own() -> None:
    norms: dict[str, Any] = {"qk_norm": words.QkRmsNorm(eps=1e-9, affine=False), "key_norm": words.QkRmsNorm(eps=1e-9)}
    parameters = {"k.weight": IDENTITY, "k_norm.weight": [2, 1]}
    y, _ = attend(parameters, values="rotated-keys", **norms)
    # (3, 4) has the mean square 12.5.
    assert y == pytest.approx([6 / 12.5**0.5, 4 / 12.5**0.5])


def test_latents_of_queries_and_of_groups_of_heads() -> None:
    # Two heads of one channel; queries are projected from norm(3 + 4) = 1, and prefer the key 4 by ln 3.
    word = words.GroupedQueryAttention(
        heads=2,
        kv_heads=2,
        head_dim=1,
        scale=1.0,
        query_latent=words.QueryLatent(width=1, norm=words.RmsNorm(eps=1e-9)),
        output_latent=words.OutputLatent(groups=2, width=2),
    )
    values: dict[str, Any] = {
        "q_down.weight": [[1, 1]],
        "q_down_norm.weight": [1],
        "q.weight": [[math.log(3)], [0]],
        "k.weight": [[0, 1], [0, 1]],
        "v.weight": [[1, 0], [1, 0]],
        "o_down.weight": [[1], [2], [3], [5]],
        "o.weight": [[1, 0, 0, 1], [0, 1, 1, 0]],
    }
    module = filled(Attention(word, words.NoPosition(), 2, torch.float32), values)
    both = torch.ones(1, 1, 2, 2, dtype=torch.bool)
    y, _ = module(torch.tensor([[[8.0, 0.0], [4.0, 1.0]]]), LayerInputs(both), {})
    # Values 8 and 4 with weights 1/4 and 3/4, and with equal ones: 5 and 6; latents (5, 10) and (18, 30).
    assert y[0, 1].tolist() == pytest.approx([35.0, 28.0])


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


def test_the_source_of_latents_is_the_layer_of_their_index() -> None:
    def layer(rope_dim: int = 2, latents_of: int | None = None) -> words.Layer:
        sizes = {"heads": 2, "latent": 4, "nope_dim": 3, "rope_dim": rope_dim, "value_dim": 2, "norm": words.NoNorm()}
        attention = words.LatentAttention.model_validate({**sizes, "latents_of": latents_of})
        return words.Layer(norm=words.NoNorm(), position=words.NoPosition(), attention=attention)

    layers = [layer(), layer(), layer(2, 0), layer(0, 0), layer(2, 2), layer(2, 6), layer()]
    assert words.kv_sources(layers) == {2: 0, 3: None, 4: None, 5: None}
