"""Layers: the norms of their branches, and adapters."""

from __future__ import annotations

from typing import Any

import torch

from archc.archspec import vocabulary as words
from archc.archspec.vocabulary.norm import PlacedRmsNorm
from archc.compiler.modules.layer import Layer
from archc.compiler.modules.layer_inputs import LayerInputs
from tests.compiler.modules.values import random_parameters


def test_norms_on_outputs_have_an_eps_of_their_own() -> None:
    word = words.Layer(
        norm=PlacedRmsNorm(eps=1e-2, placement="sandwich", output_eps=1e-8),
        position=words.NoPosition(),
        attention=words.GroupedQueryAttention(heads=1, kv_heads=1, head_dim=2),
        mlp=words.PlainMlp(width=2, activation="relu"),
    )
    layer: Any = Layer(word, 2, torch.float32)
    norms = (layer.mixer_norm, layer.mixer_output_norm, layer.mlp_norm, layer.mlp_output_norm)
    assert [norm.word.eps for norm in norms] == [1e-2, 1e-8, 1e-2, 1e-8]


def test_an_adapter_is_between_two_uses_of_one_norm() -> None:
    adapter = words.PlainMlp(width=3, activation="relu", bias=True)
    word = words.Layer(
        norm=PlacedRmsNorm(eps=1e-2, placement="post"),
        position=words.NoPosition(),
        mlp=words.PlainMlp(width=5, activation="relu"),
        adapter=adapter,
    )
    layer: Any = random_parameters(Layer(word, 4, torch.float32))
    x = torch.randn(1, 2, 4)
    h = layer.mlp_norm(x + layer.mlp(x))
    torch.testing.assert_close(layer(x, LayerInputs(), {})[0], layer.mlp_norm(h + layer.adapter(h)))
