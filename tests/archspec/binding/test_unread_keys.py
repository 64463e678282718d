"""Keys that a spec does not read: repeated, off, and ignored ones bind; those that may change the model are refused."""

from __future__ import annotations

from typing import Any

import pytest

from archc.archspec import ConfigError, load_spec
from tests.archspec.samples import TINY

GPT2 = {"vocab_size": 100, "n_embd": 64, "n_layer": 2, "n_head": 4}
CHATGLM = {"vocab_size": 130528, "hidden_size": 64, "num_layers": 2, "num_attention_heads": 4}
T5 = {"vocab_size": 100, "d_model": 64, "d_ff": 96, "num_layers": 2, "num_heads": 4, "num_decoder_layers": 3}

REPEATED: dict[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "head width": ("gpt2", GPT2, {"head_dim": 16}, {"head_dim": 8}),
    "kv heads": ("gpt2", GPT2, {"num_key_value_heads": 4}, {"num_key_value_heads": 2}),
    "width": ("gpt2", GPT2, {"d_model": 64}, {"d_model": 32}),
    "activation": ("llama", TINY, {"hidden_activation": "swish"}, {"hidden_activation": "gelu"}),
    "eps": ("llama", TINY, {"layer_norm_eps": 1e-6}, {"layer_norm_eps": 1e-5}),
    "theta": ("llama", TINY, {"rotary_emb_base": 10000}, {"rotary_emb_base": 5000}),
    "bias": ("llama", TINY, {"qkv_bias": False}, {"qkv_bias": True}),
    "rope": ("llama", TINY, {"use_rope": True}, {"use_rope": False}),
    "positions": ("llama", TINY, {"pos_emb": "rope"}, {"pos_emb": "alibi"}),
    "untied": ("chatglm", CHATGLM, {"tie_word_embeddings": False}, {"tie_word_embeddings": True}),
    "causal": ("llama", TINY, {"is_causal": True}, {"is_causal": False}),
    "decoder": ("gpt2", GPT2, {"is_decoder": True}, {"is_encoder_decoder": True}),
    "both stacks": ("t5", T5, {"hidden_size": 64}, {"n_layer": 3}),
}


@pytest.mark.parametrize(("family", "config", "same", "other"), REPEATED.values(), ids=REPEATED)
def test_a_key_may_repeat_what_the_model_has(
    family: str, config: dict[str, Any], same: dict[str, Any], other: dict[str, Any]
) -> None:
    spec = load_spec(family)
    assert spec.bind({**config, **same}).layers == spec.bind(config).layers
    key = next(iter(other))
    with pytest.raises(ConfigError, match=f"{key}: the spec '{family}' does not read this key .*--ignore-config {key}"):
        spec.bind({**config, **other})


def test_an_off_value_stands_for_the_allowed_one_that_is_off() -> None:
    spec = load_spec("chatglm2")
    size = spec.sizes["6b"]
    for off in (None, 0, False):
        assert spec.bind({**size, "pre_seq_len": off, "quantization_bit": off}).layers == spec.bind(size).layers
    with pytest.raises(ConfigError, match="pre_seq_len: 128 is not supported"):
        spec.bind({**size, "pre_seq_len": 128})


def test_ignored_keys_count_as_absent() -> None:
    spec = load_spec("llama")
    config = {**TINY, "foo": 1, "bar": {"inner": 2, "more": 3}, "rms_norm_eps": 0.5}
    bound = spec.bind(config, ignore_config=["foo", "bar", "rms_*"])
    assert bound.layers == spec.bind(TINY).layers
    assert "foo" not in bound.config
    with pytest.raises(ConfigError, match="bar: the spec 'llama' does not read"):
        spec.bind(config, ignore_config=["foo", "bar.inner"])
    with pytest.raises(ConfigError, match=r"--ignore-config fooo: not a key of config.json; did you mean 'foo'\?"):
        spec.bind(config, ignore_config=["fooo", "bar"])


def test_an_ignored_value_that_is_not_allowed() -> None:
    spec = load_spec("gemma2")
    config = {**next(iter(spec.sizes.values())), "use_bidirectional_attention": True}
    with pytest.raises(ConfigError, match="use_bidirectional_attention: true is not supported"):
        spec.bind(config)
    spec.bind(config, ignore_config=["use_bidirectional_attention"])


def test_a_key_inside_a_mapping_is_ignored() -> None:
    spec = load_spec("mpt")
    config = {**next(iter(spec.sizes.values())), "attn_config": {"alibi": True, "new": 3}}
    with pytest.raises(ConfigError, match=r"--ignore-config attn_config\.new"):
        spec.bind(config)
    spec.bind(config, ignore_config=["attn_config.new"])
