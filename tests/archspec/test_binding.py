from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from archc.archspec import ArchspecError, ConfigError, Spec, SpecError, load_spec, load_spec_text
from archc.archspec.vocabulary import LinearScaling, NoPosition, NoScaling, Rope

DATA = Path(__file__).parent / "data"
Load = Callable[..., Spec]
TINY = {
    "vocab_size": 100, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def llama() -> Spec:
    return load_spec(DATA / "llama.yaml")


def test_defaults_may_read_other_names(llama: Spec) -> None:
    attention = llama.bind({**TINY, "num_key_value_heads": None}).layers[0].attention
    assert (attention.kv_heads, attention.head_dim) == (4, 16)


def test_every_layer_is_bound(llama: Spec) -> None:
    bound = llama.bind(TINY)
    assert len(bound.layers) == 4
    assert len(set(bound.layers)) == 1


def test_what_was_bound_binds_again_from_its_own_text(llama: Spec) -> None:
    bound = llama.bind(size="llama-3.2-1b")
    again = load_spec_text(bound.text, "plan").bind(bound.config)
    assert again.layers == bound.layers
    assert (again.embedding, again.head, again.final_norm) == (bound.embedding, bound.head, bound.final_norm)
    assert again.text == bound.text
    assert again.config == bound.config


def test_a_window_on_some_layers() -> None:
    qwen2 = load_spec(DATA / "qwen2.yaml")
    config = {**TINY, "use_sliding_window": True, "sliding_window": 8, "max_window_layers": 3}
    assert [layer.attention.window for layer in qwen2.bind(config).layers] == [None, None, None, 8]
    config["layer_types"] = ["sliding_attention", "full_attention"] * 2
    assert [layer.attention.window for layer in qwen2.bind(config).layers] == [8, None, 8, None]


def test_patterns_lists_and_whole_sections(load: Load) -> None:
    spec = load(
        "config: {heads: {default: [2, 4, 2, 4]}}\n"
        "position: [{kind: rope, theta: rope_theta}, none]\n"
        "attention: {heads: 'heads[layer]', kv_heads: 2, head_dim: 16, window: [8, none, none]}\n"
        "mlp: {width: hidden_size * (layer + 1) // layers}\n"
    )
    layers = spec.bind().layers
    assert [layer.position for layer in layers] == [Rope(theta=10000.0), NoPosition()] * 2
    assert [layer.attention.heads for layer in layers] == [2, 4, 2, 4]
    assert [layer.attention.window for layer in layers] == [8, None, None, 8]
    assert [layer.mlp.width for layer in layers] == [16, 32, 48, 64]


def test_a_mapping_from_the_config_fills_a_section(llama: Spec) -> None:
    bound = llama.bind({**TINY, "rope_scaling": {"type": "linear", "factor": 4}})
    position = bound.layers[0].position
    assert isinstance(position, Rope)
    assert position.scaling == LinearScaling(factor=4.0)


V4 = [
    {"rope_theta": 5e5},
    {"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0}},
    {"rope_theta": 5e5, "max_position_embeddings": 4096, "rope_scaling": {"type": "dynamic", "factor": 2.0}},
    {
        "rope_theta": 5e5,
        "rope_scaling": {
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
    },
    {"rope_theta": 5e5, "max_position_embeddings": 4096, "rope_scaling": {"type": "yarn", "factor": 4, "mscale": None}},
]  # fmt: skip


@pytest.mark.parametrize("older", V4, ids=lambda config: str(config.get("rope_scaling", {}).get("type", "plain")))
def test_both_generations_of_config_bind_alike(llama: Spec, older: dict[str, object]) -> None:
    scaling = older.get("rope_scaling")
    parameters = dict(scaling) if isinstance(scaling, dict) else {}
    parameters["rope_type"] = parameters.pop("type", parameters.get("rope_type", "default"))
    newer = {key: value for key, value in older.items() if not key.startswith("rope_")}
    newer["rope_parameters"] = {**parameters, "rope_theta": 5e5}
    bound = llama.bind({**TINY, **older})
    assert llama.bind({**TINY, **newer}).layers == bound.layers
    assert llama.bind({**TINY, **older, **newer}).layers == bound.layers
    position = bound.layers[0].position
    assert isinstance(position, Rope)
    assert position.theta == 5e5
    assert isinstance(position.scaling, NoScaling) is (scaling is None)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "config.json: vocab_size: the key 'vocab_size' is missing; or name a size: llama-3.2-1b"),
        ({**TINY, "foo": 1}, "config.json: foo: 1: nothing in the spec 'llama' reads this key"),
        ({**TINY, "rope_theta": 1e4, "rope_parameters": {"rope_theta": 2e4}}, "they mean the same: keep one"),
        (
            {**TINY, "rope_scaling": {"type": "linear", "factor": 2.0}, "rope_parameters": {"rope_type": "default"}},
            'config.json: rope_scaling: rope_parameters says null and rope_scaling {"kind": "linear"',
        ),
        ({**TINY, "rope_scaling": {"type": "linear", "rope_type": "yarn"}}, "they mean the same: keep one"),
        ({**TINY, "rope_scaling": {"factor": 2.0}}, "the key 'rope_type' is missing; known: none, linear"),
        ({**TINY, "rope_scaling": {"type": "linear"}}, "rope_scaling: the key 'factor' is missing"),
        ({**TINY, "rope_scaling": {"type": "linear", "factor": 2.0, "extra": 1}}, "unknown key 'extra' of linear"),
        ({**TINY, "rope_scaling": {"type": []}}, "is not known"),
        ({**TINY, "rope_scaling": 3}, "3 where a mapping is expected"),
        ({**TINY, "rope_parameters": [3]}, "where a mapping is expected"),
        ({**TINY, "hidden_size": "64"}, "hidden_size = '64' must be an integer (from config.json)"),
        ({**TINY, "hidden_size": 64.0}, "hidden_size = 64.0 must be an integer"),
        ({**TINY, "hidden_size": True}, "hidden_size = true must be an integer"),
        ({**TINY, "num_hidden_layers": 0}, "num_hidden_layers = 0 must be positive"),
        ({**TINY, "num_hidden_layers": 10**6}, "num_hidden_layers = 1000000 must be at most 10,000"),
        ({**TINY, "hidden_size": 10**7}, "hidden_size = 10000000 must be at most 1,000,000"),
        ({**TINY, "vocab_size": 10**12}, "vocab_size = 1000000000000 must be at most 100,000,000"),
        ({**TINY, "vocab_size": 10**30}, "is not a number that a model has"),
        ({**TINY, "rms_norm_eps": float("nan")}, "is not a number that a model has"),
        ({**TINY, "num_key_value_heads": 3}, "4 heads cannot share 3 kv_heads evenly"),
        ({**TINY, "head_dim": 15}, "15 dimensions of a head would rotate; they rotate in pairs"),
        ({**TINY, "attention_bias": "false"}, "attention_bias: 'false' where true, false or a mapping is expected"),
        ({**TINY, 3: 4}, "the key 3 is not text"),
    ],
)
def test_configs_that_are_refused(llama: Spec, config: dict[str, object], message: str) -> None:
    with pytest.raises(ArchspecError) as raised:
        llama.bind(config)
    assert message in str(raised.value)


def test_one_wrong_value_is_one_problem(llama: Spec) -> None:
    with pytest.raises(SpecError) as raised:
        llama.bind({**TINY, "rms_norm_eps": -1.0})
    assert len(raised.value.problems) == 1
    with pytest.raises(ConfigError) as missing:
        llama.bind({"vocab_size": 3})
    assert len(missing.value.problems) == 4


def test_the_place_of_a_value_is_its_leaf(llama: Spec) -> None:
    with pytest.raises(SpecError) as raised:
        llama.bind({**TINY, "num_attention_heads": -4}, source="model/config.json")
    assert str(raised.value).endswith(
        "llama.yaml:46:10: attention.heads: num_attention_heads = -4 must be positive (from model/config.json)"
    )


def test_a_config_that_reads_a_rope_of_an_unread_key_is_refused(load: Load) -> None:
    spec = load("position: none\n")
    with pytest.raises(ConfigError, match=r"rope_theta: 20000\.0: nothing in the spec"):
        spec.bind({"rope_theta": 2e4})


def test_synonyms_and_allowed_values(load: Load) -> None:
    spec = load("config:\n  hidden_size: {keys: [n_embd, d_model]}\n  hidden_act: {allowed: [silu]}\n")
    assert spec.bind({"n_embd": 32}).embedding.width == 32
    assert spec.bind({"n_embd": 32, "d_model": 32.0}).embedding.width == 32
    with pytest.raises(ConfigError, match=r"hidden_size: n_embd = 32, d_model = 16 disagree"):
        spec.bind({"n_embd": 32, "d_model": 16})
    with pytest.raises(ConfigError, match="'gelu' is not among the values that the spec knows"):
        spec.bind({"hidden_act": "gelu"})


def test_an_absent_key_may_mean_something_else_than_null(load: Load) -> None:
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


def test_keys_within_a_mapping(load: Load) -> None:
    spec = load(
        "config:\n  clip: {keys: [attn_config.clip_qkv], default: none}\nattention: {clip: clip}\n"
        "ignore_config: [attn_config.attn_impl]\n"
    )
    assert spec.bind({"attn_config": {"clip_qkv": 8, "attn_pdrop": 0.1, "attn_impl": "torch", "more": None}}).layers[
        0
    ].attention.clip == 8  # fmt: skip
    assert spec.bind({"attn_config": None}).layers[0].attention.clip is None
    with pytest.raises(ConfigError, match=r"attn_config\.qk_ln: true: nothing in the spec 'spec' reads this key"):
        spec.bind({"attn_config": {"qk_ln": True}})
    with pytest.raises(ConfigError, match="attn_config: 3: nothing in the spec"):
        spec.bind({"attn_config": 3})
    with pytest.raises(ConfigError, match=r"clip = 4, attn_config\.clip_qkv = 8 disagree"):
        spec.bind({"clip": 4, "attn_config": {"clip_qkv": 8}})


def test_text_defaults_and_derived_names(load: Load) -> None:
    spec = load(
        "config:\n  mode: {default: \"'num_heads'\"}\n  style: {default: plain-text}\n"
        "derive:\n  width: 3 * hidden_size\n  double: 2 * width\n"
        "mlp: {width: double if mode == 'num_heads' and style == 'plain-text' else 1}\n"
    )
    assert spec.bind().layers[0].mlp.width == 384


def test_a_name_of_a_variant_is_needed_only_where_it_holds(load: Load) -> None:
    spec = load(
        "config:\n  wide: {default: false}\n  wide_width:\nvariants:\n  - when: wide\n    mlp: {width: wide_width}\n"
    )
    assert spec.bind().layers[0].mlp.width == 256
    with pytest.raises(ConfigError, match="the key 'wide_width' is missing"):
        spec.bind({"wide": True})


def test_a_variant_on_the_layer_holds_in_some(load: Load) -> None:
    spec = load(
        "config:\n  every: {default: 3}\nvariants:\n  - when: layer % every == 2\n    position: none\n"
        "    attention: {window: 8 + layer}\n  - when: layer == layers - 1\n    attention: {window: 5}\n"
    )
    layers = spec.bind({"num_hidden_layers": 7}).layers
    assert [type(layer.position) is NoPosition for layer in layers] == [index in (2, 5) for index in range(7)]
    assert [layer.attention.window for layer in layers] == [None, None, 10, None, None, 13, 5]
    assert layers[0] == layers[1] == layers[3]
    assert load_spec_text(spec.text).bind({"num_hidden_layers": 7}).layers == layers


def test_a_name_of_a_variant_on_the_layer_is_needed(load: Load) -> None:
    spec = load("config:\n  wide:\nvariants:\n  - when: layer == 1\n    mlp: {width: wide}\n")
    assert [layer.mlp.width for layer in spec.bind({"wide": 40}).layers[:3]] == [256, 40, 256]
    with pytest.raises(ConfigError, match="the key 'wide' is missing"):
        spec.bind()


def test_architectures_are_there_for_expressions(load: Load) -> None:
    spec = load("head: {tie: \"'Tied' in architectures\"}\n")
    assert spec.bind({"architectures": ["Tied"]}).head.tie is True  # type: ignore[union-attr]
    assert spec.bind().head.tie is False  # type: ignore[union-attr]


AVERAGE = "{kind: decayed-average, width: 8}"
DELTA = (
    "kind: delta-rule, heads: 4, head_dim: 16, shift: {kind: static}, decay_rank: 2, rate_rank: 2, gate_rank: 2, "
    "norm: {eps: 1e-5}"
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("position: {scaling: {kind: dynamic, factor: 2.0, original_max_position_embeddings: 9}, fraction: 0.125}\n",
         "position.scaling: dynamic scaling needs more than 2 rotating dimensions"),
        ("position: {scaling: {kind: llama3, factor: 2.0, low_freq_factor: 4.0, high_freq_factor: 4.0, "
         "original_max_position_embeddings: 9}}\n", "low_freq_factor 4 must be less than high_freq_factor 4"),
        ("layer: {residual: parallel, norm: {placement: post}}\n", "placement 'post' with a parallel residual"),
        ("position: {dim: 8, fraction: 0.5}\n", "position.dim: dim and fraction both say"),
        ("position: {dim: 32}\n", "32 dimensions of a head would rotate, and it has 16"),
        ("position: {scaling: {kind: longrope, factor: 2.0, long_factor: [1.0, 2.0], "
         "short_factor: [1, 1, 1, 1, 1, 1, 1, 1], "
         "original_max_position_embeddings: 64}}\n", "position.scaling.long_factor: 2 factors for 8 rotating pairs"),
        ("position: {scaling: {kind: longrope, long_factor: [1, 1, 1, 1, 1, 1, 1, 1], "
         "short_factor: [1, 1, 1, 1, 1, 1, 1, 1], original_max_position_embeddings: 64}}\n",
         "position.scaling: longrope without factor and attention_factor"),
        ("final_norm: {kind: layernorm, affine: false}\n", "final_norm.affine: a norm without a weight has no bias"),
        ("attention: {qk_norm: {kind: rmsnorm, eps: 1e-6, over: projection, weights: per-head}}\n", "has one weight"),
        ("attention: {qk_norm: {kind: layernorm, eps: 1e-6, weights: per-head}}\n", "that weight and no bias"),
        ("layer: {norm: {placement: post}, skip: {source: norm}}\n", "no norm stands on a branch's input"),
        ("topology: encoder\nposition: alibi\n", "alibi is relative only under a causal mask"),
        ("pooler: first-token\n", "in a decoder sees no other"),
        ("head: {kind: mlm, activation: gelu, norm: {kind: none}}\n", "masked-language-model head on a decoder"),
        ("position: [{kind: learned}, none]\n", "they cannot differ by layer"),
        ("attention: {kv_heads: [4, 4, 3]}\n", "4 heads cannot share 3 kv_heads evenly (layer 2)"),
        ("attention: none\nposition: none\n", "attention: a layer without attention and without recurrence"),
        (f"recurrence: {AVERAGE}\n", "recurrence: a layer has one token mixer, and this one has attention too"),
        (f"attention: none\nrecurrence: {AVERAGE}\n", "position: rope positions are read by attention"),
        (f"topology: encoder\nattention: none\nposition: none\nrecurrence: {AVERAGE}\n", "a recurrence only forwards"),
        ("mlp: none\n", "layer.norm.branches: there is no MLP to have a norm"),
        ("mlp: none\nlayer: {residual: parallel, norm: {branches: mixer}}\n", "mlp: a parallel residual joins two"),
        (f"attention: none\nposition: none\nrecurrence: {{{DELTA}, value_residual: {{kind: take, rank: 2}}}}\n",
         "layer 0 takes values of 64 channels, and no layer before it gives any"),
        (f"attention: none\nposition: none\nrecurrence: {{{DELTA}, value_residual: give}}\n",
         "values are given and no later layer takes them"),
        (f"attention: none\nposition: none\nrecurrence: {{{DELTA}, value_residual: {{kind: take, rank: 2}}}}\n"
         "variants:\n"
         "  - {when: layer == 0, recurrence: {heads: 2, value_residual: {kind: give}}}\n",
         "layer 1 takes values of 64 channels, and the layer before it gives 32"),
    ],
)  # fmt: skip
def test_combinations_that_make_no_sense(load: Load, text: str, message: str) -> None:
    spec = load(text)
    with pytest.raises(SpecError) as raised:
        spec.bind()
    assert message in str(raised.value)
    assert raised.value.problems[0].line > 0


def test_a_table_of_learned_positions_is_as_long_as_the_context(load: Load) -> None:
    bound = load("position: learned\n").bind()
    assert bound.layers[0].position.size == 128  # type: ignore[union-attr]
