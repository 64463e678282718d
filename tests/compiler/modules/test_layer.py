"""Layers: the norms of their branches, and adapters."""

from __future__ import annotations

from typing import Any

import torch

from archc.archspec import vocabulary as words
from archc.archspec.vocabulary.norm import PlacedRmsNorm
from archc.compiler.contract.cross_layer import EMBEDDED
from archc.compiler.modules.basic.front import share_front
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


MASK = torch.ones(1, 1, 3, 3, dtype=torch.bool).tril()


def front_layer() -> Any:
    adapter = words.LowRankAdapter(rank=2)
    word = words.Layer(
        norm=PlacedRmsNorm(eps=1e-2),
        front=words.FrontBlock(weights=0),
        position=words.NoPosition(),
        attention=words.GroupedQueryAttention(heads=2, kv_heads=1, head_dim=2, adapter=adapter),
        recurrence=words.ShortConvolution(width=4, convolution=words.Convolution(kernel=2)),
        mlp=words.GatedMlp(width=5, activation="silu", adapter=adapter),
    )
    return random_parameters(Layer(word, 4, torch.float32))


def test_a_front_block_changes_the_input_of_the_recurrence_alone() -> None:
    layer = front_layer()
    x, embedded = torch.randn(2, 1, 3, 4)
    inputs = LayerInputs(mask_B1ST=MASK, cross_layer={EMBEDDED: embedded})
    attended, _ = layer.attention(layer.front.norm(torch.cat((x, embedded), dim=-1)), inputs, {})
    block = layer.front.projection(layer.mlp(layer.mlp_norm(attended)))
    mixed, _ = layer.recurrence(layer.mixer_norm(x + block), inputs, {})
    torch.testing.assert_close(layer(x, inputs, {})[0], x + mixed)


def test_a_shared_front_block_keeps_projection_and_adapters_apart() -> None:
    first, second = front_layer(), front_layer()
    share_front(second, first)
    own = {name for name, each in second.named_parameters() if each is not first.get_parameter(name)}
    adapters = {f"attention.adapter.{name}.{end}.weight" for name in "qkv" for end in ("down", "up")}
    adapters |= {f"mlp.adapter.{end}.weight" for end in ("down", "up")}
    recurrent = {f"recurrence.{name}.weight" for name in ("b", "c", "x", "o", "convolution")}
    assert own == adapters | recurrent | {"front.projection.weight", "mixer_norm.weight"}


def test_adapters_add_a_low_rank_term() -> None:
    layer = front_layer()
    x = torch.randn(1, 3, 4)
    mlp, adapter = layer.mlp, layer.mlp.adapter
    weight = torch.cat((mlp.gate.weight, mlp.up.weight)) + adapter.up.weight @ adapter.down.weight
    gate, up = (x @ weight.T).chunk(2, dim=-1)
    torch.testing.assert_close(mlp(x), (torch.nn.functional.silu(gate) * up) @ mlp.down.weight.T)
    wide, attention = torch.randn(1, 3, 8), layer.attention
    adapter = attention.adapter["k"]
    keys = wide @ (attention.k.weight + adapter.up.weight @ adapter.down.weight).T
    torch.testing.assert_close(attention(wide, LayerInputs(mask_B1ST=MASK), {})[1]["key"], keys[:, None])


def test_learned_skip_connections() -> None:
    word = words.Layer(
        norm=PlacedRmsNorm(eps=1e-2),
        skip=words.Skip(learned=True),
        position=words.NoPosition(),
        recurrence=words.ShortConvolution(width=4, convolution=words.Convolution(kernel=2)),
        mlp=words.PlainMlp(width=5, activation="relu"),
    )
    layer: Any = random_parameters(Layer(word, 4, torch.float32))
    x = torch.randn(1, 3, 4)
    h = layer.mixer_skip * x + layer.recurrence(layer.mixer_norm(x), LayerInputs(), {})[0]
    expected = layer.mlp_skip * h + layer.mlp(layer.mlp_norm(h))
    torch.testing.assert_close(layer(x, LayerInputs(), {})[0], expected)
