from __future__ import annotations

import pytest

from archc.archspec import ConfigError, load_spec, load_spec_text
from archc.archspec.vocabulary import NoPosition, Rope
from tests.archspec.samples import DATA, TINY, Load


def test_a_window_on_some_layers() -> None:
    qwen2 = load_spec(DATA / "qwen2.yaml")
    config = {**TINY, "use_sliding_window": True, "sliding_window": 8, "max_window_layers": 3}
    assert [layer.attention.window for layer in qwen2.bind(config).layers] == [None, None, None, 8]
    config["layer_types"] = ["sliding_attention", "full_attention"] * 2
    assert [layer.attention.window for layer in qwen2.bind(config).layers] == [8, None, 8, None]


def test_patterns_lists_and_whole_sections(load: Load) -> None:
    spec = load(
        "config: {heads: [2, 4, 2, 4]}\n"
        "position: [{kind: rope, theta: rope_theta}, none]\n"
        "attention: {heads: 'heads[layer]', kv_heads: 2, head_dim: 16, window: [8, none, none]}\n"
        "mlp: {width: hidden_size * (layer + 1) // layers}\n"
    )
    layers = spec.bind().layers
    assert [layer.position for layer in layers] == [Rope(theta=10000.0), NoPosition()] * 2
    assert [layer.attention.heads for layer in layers] == [2, 4, 2, 4]
    assert [layer.attention.window for layer in layers] == [8, None, None, 8]
    assert [layer.mlp.width for layer in layers] == [16, 32, 48, 64]


def test_a_name_of_a_variant_is_required_only_if_the_variant_holds(load: Load) -> None:
    spec = load("config:\n  wide: false\n  wide_width:\nvariants:\n  - when: wide\n    mlp: {width: wide_width}\n")
    assert spec.bind().layers[0].mlp.width == 256
    with pytest.raises(ConfigError, match="missing key 'wide_width'"):
        spec.bind({"wide": True})


def test_a_per_layer_variant(load: Load) -> None:
    spec = load(
        "config:\n  every: 3\nvariants:\n  - when: layer % every == 2\n    position: none\n"
        "    attention: {window: 8 + layer}\n  - when: layer == layers - 1\n    attention: {window: 5}\n"
    )
    layers = spec.bind({"num_hidden_layers": 7}).layers
    assert [type(layer.position) is NoPosition for layer in layers] == [index in (2, 5) for index in range(7)]
    assert [layer.attention.window for layer in layers] == [None, None, 10, None, None, 13, 5]
    assert layers[0] == layers[1] == layers[3]
    assert load_spec_text(spec.text).bind({"num_hidden_layers": 7}).layers == layers


def test_a_name_of_a_per_layer_variant_is_required(load: Load) -> None:
    spec = load("config:\n  wide:\nvariants:\n  - when: layer == 1\n    mlp: {width: wide}\n")
    assert [layer.mlp.width for layer in spec.bind({"wide": 40}).layers[:3]] == [256, 40, 256]
    with pytest.raises(ConfigError, match="no default for wide"):
        spec.bind()
