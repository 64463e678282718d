from __future__ import annotations

import pytest

from archc.archspec import ConfigError, load_spec, load_spec_text
from tests.archspec.samples import Load, Write


def test_text_defaults_and_derived_names(load: Load) -> None:
    spec = load(
        "config:\n  mode: {default: \"'num_heads'\"}\n  style: {default: plain-text}\n"
        "derive:\n  width: 3 * hidden_size\n  double: 2 * width\n"
        "mlp: {width: double if mode == 'num_heads' and style == 'plain-text' else 1}\n"
    )
    assert spec.bind().layers[0].mlp.width == 384


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("3", 3, id="number"),
        pytest.param("hidden_size // 8", 8, id="expression"),
        pytest.param("none", None, id="none"),
    ],
)
def test_an_entry_may_be_its_default_alone(load: Load, value: str, expected: int | None) -> None:
    for entry in (value, f"{{default: {value}}}"):
        bound = load(f"config:\n  span: {entry}\nattention: {{window: span}}\n").bind({})
        assert bound.layers[0].attention.window == expected
        assert f"\n  span: {value}\n" in bound.text  # a plan has the short form


def test_a_default_that_is_a_list_or_text(load: Load) -> None:
    text = "config:\n  spans: [4, none]\n  mode: \"'spans'\"\n"
    spec = load(f"{text}attention:\n  window: spans[layer % 2] if mode == 'spans' else 9\n")
    assert [layer.attention.window for layer in spec.bind({}).layers[:2]] == [4, None]
    assert spec.bind({"mode": "other"}).layers[0].attention.window == 9


def test_an_entry_without_a_value_is_required(load: Load) -> None:
    spec = load("config:\n  span:\nattention: {window: span}\n")
    with pytest.raises(ConfigError, match="missing key 'span'"):
        spec.bind({})


def test_keys_with_one_supported_value(load: Load) -> None:
    spec = load("fixed_config: {style: num_heads, scaled: false, span: none, mode: '3'}\n")
    assert len(spec.bind({"style": "num_heads", "scaled": 0, "span": None, "mode": "3"}).layers) == 4
    bound = spec.bind({})
    assert load_spec_text(bound.text).bind(bound.config).layers == bound.layers
    for key, value, supported in (
        ("style", "other", "'num_heads'"), ("scaled", True, "false"), ("span", 3, "null"), ("mode", 3, "'3'"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=rf"{key}: .* is not supported by the spec; supported: {supported}"):
            spec.bind({key: value})


def test_a_child_may_support_more(write: Write) -> None:
    write("fixed_config: {span: 8}\nattention: {window: span}\n", "one")
    child = load_spec(write("config:\n  span: {allowed: [8, 9]}\n", "two", extends="one"))
    assert [child.bind(config).layers[0].attention.window for config in ({}, {"span": 9})] == [8, 9]
    again = load_spec(write("fixed_config: {span: 9}\n", "three", extends="two"))
    assert again.bind({}).layers[0].attention.window == 9
    with pytest.raises(ConfigError, match="8 is not supported"):
        again.bind({"span": 8})


def test_synonyms_and_allowed_values(load: Load) -> None:
    spec = load("config:\n  hidden_size: {keys: [n_embd, d_model]}\n  hidden_act: {allowed: [silu]}\n")
    assert spec.bind({"n_embd": 32}).embedding.width == 32
    assert spec.bind({"n_embd": 32, "d_model": 32.0}).embedding.width == 32
    with pytest.raises(ConfigError, match=r"hidden_size: n_embd = 32, d_model = 16 disagree"):
        spec.bind({"n_embd": 32, "d_model": 16})
    with pytest.raises(ConfigError, match="hidden_act: 'gelu' is not supported by the spec; supported: 'silu'"):
        spec.bind({"hidden_act": "gelu"})


def test_an_absent_key_may_differ_from_null(load: Load) -> None:
    spec = load("config:\n  window: {default: none, absent: 16, keys: [attn.span]}\nattention: {window: window}\n")

    def window(config: dict[str, object]) -> int | None:
        bound = spec.bind(config)
        again = load_spec_text(bound.text).bind(bound.config)
        assert again.layers == bound.layers
        return bound.layers[0].attention.window

    assert window({}) == 16
    assert window({"window": None}) is None
    assert window({"window": 8}) == 8
    assert window({"attn": {"span": None}}) is None
    assert window({"attn": {"span": 9}}) == 9
    assert window({"attn": {}}) == 16


def test_the_value_of_an_absent_key_may_depend_on_the_model_type(load: Load) -> None:
    window = "window: {default: none, absent: 16 if model_type == 'short' else 2 * span}"
    spec = load(f"config:\n  {window}\n  span: {{default: 9}}\nattention: {{window: window}}\n")
    configs: list[dict[str, object]] = [{"model_type": "short"}, {}, {"span": 3}, {"window": None}]
    assert [spec.bind(config).layers[0].attention.window for config in configs] == [16, 18, 6, None]


def test_keys_within_a_mapping(load: Load) -> None:
    spec = load(
        "config:\n  clip: {keys: [attn_config.clip_qkv], default: none}\nattention: {clip: clip}\n"
        "ignore_config: [attn_config.attn_impl]\n"
    )
    bound = spec.bind({"attn_config": {"clip_qkv": 8, "attn_pdrop": 0.1, "attn_impl": "torch", "more": None}})
    assert bound.layers[0].attention.clip == 8
    assert spec.bind({"attn_config": None}).layers[0].attention.clip is None
    with pytest.raises(ConfigError, match=r"attn_config\.qk_ln: the spec 'spec' does not read this key \(value true\)"):
        spec.bind({"attn_config": {"qk_ln": True}})
    with pytest.raises(ConfigError, match="attn_config: the spec 'spec' does not read this key"):
        spec.bind({"attn_config": 3})
    with pytest.raises(ConfigError, match=r"clip = 4, attn_config\.clip_qkv = 8 disagree"):
        spec.bind({"clip": 4, "attn_config": {"clip_qkv": 8}})


def test_expressions_may_read_the_architectures(load: Load) -> None:
    spec = load("head: {tie: \"'Tied' in architectures\"}\n")
    assert spec.bind({"architectures": ["Tied"]}).head.tie is True  # type: ignore[union-attr]
    assert spec.bind().head.tie is False  # type: ignore[union-attr]
