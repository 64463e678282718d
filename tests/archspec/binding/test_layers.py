from __future__ import annotations

import pytest

from archc.archspec import ConfigError, SpecError, load_spec, load_spec_text
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


DERIVED = """
config:
  types: none
  every: 2
derive:
  local: types[layer] == 'local' if types else layer % every == 1
  last: local and layer == layers - 1
variants:
  - when: local
    attention: {window: 8}
mlp: {width: 32 if last else 64}
"""


def test_a_derived_name_with_a_value_for_each_layer(load: Load) -> None:
    spec = load(DERIVED)
    for config, local, narrow in (({}, [1, 3], [3]), ({"types": ["local", "full", "local", "full"]}, [0, 2], [])):
        bound = spec.bind(config)
        assert [index for index, layer in enumerate(bound.layers) if layer.attention.window == 8] == local
        assert [index for index, layer in enumerate(bound.layers) if layer.mlp.width == 32] == narrow
        assert load_spec_text(bound.text).bind(bound.config).layers == bound.layers


def test_a_derived_name_in_an_override(load: Load) -> None:
    spec = load(DERIVED, "attention.kv_heads=1 if local else 2")
    assert [layer.attention.kv_heads for layer in spec.bind().layers] == [2, 1, 2, 1]


def test_a_derived_name_is_that_of_each_stack() -> None:
    stacks = load_spec_text(
        "family: x\nextends: t5\nderive: {half: layers // 2}\n"
        "variants:\n  - when: layer >= half\n    encoder: {mlp: {width: 48}}\n    mlp: {width: 40}\n"
    ).bind({"vocab_size": 9, "d_model": 8, "d_ff": 32, "num_heads": 2, "num_layers": 6, "num_decoder_layers": 2})
    assert [layer.mlp.width for layer in stacks.layers] == [32, 40]
    assert stacks.encoder is not None
    assert [layer.mlp.width for layer in stacks.encoder.layers] == [32] * 3 + [48] * 3


def test_a_derived_name_without_a_value_at_a_layer_is_reported_once(load: Load) -> None:
    with pytest.raises(SpecError) as raised:
        load(DERIVED).bind({"types": ["local", "full"]})
    (problem,) = raised.value.problems
    expected = "'types[layer] == 'local' if types else layer % every == 1': index 2 is out of range for a list of 2"
    assert problem.path == "derive.local"
    assert problem.message.replace('"', "'").startswith(expected)
    assert "layer = 2" in problem.message


def test_a_key_behind_a_derived_name_is_required(load: Load) -> None:
    spec = load(DERIVED.replace("every: 2", "every:"))
    with pytest.raises(ConfigError, match="missing key 'every'"):
        spec.bind({"num_hidden_layers": 4})
