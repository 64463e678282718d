from __future__ import annotations

from typing import Any

import pytest

from archc.archspec import ArchspecError, ConfigError, Spec, SpecError, load_spec, load_spec_text
from archc.archspec.vocabulary import LinearScaling, NoScaling, Rope
from tests.archspec.samples import DATA, TINY, Load


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


def test_the_text_of_a_bound_spec_binds_to_the_same(llama: Spec) -> None:
    bound = llama.bind(size="llama-3.2-1b")
    again = load_spec_text(bound.text, "plan").bind(bound.config)
    assert again.layers == bound.layers
    assert (again.embedding, again.head, again.final_norm) == (bound.embedding, bound.head, bound.final_norm)
    assert again.text == bound.text
    assert again.config == bound.config


def test_a_mapping_from_the_config_fills_a_section(llama: Spec) -> None:
    bound = llama.bind({**TINY, "rope_scaling": {"type": "linear", "factor": 4}})
    position = bound.layers[0].position
    assert isinstance(position, Rope)
    assert position.scaling == LinearScaling(factor=4.0)


OLDER_SPELLINGS = [
    {"rope_theta": 5e5},
    {"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0}},
    {"rope_theta": 5e5, "max_position_embeddings": 4096, "rope_scaling": {"type": "dynamic", "factor": 2.0}},
    {
        "rope_theta": 5e5,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
    },
    {"rope_theta": 5e5, "max_position_embeddings": 4096, "rope_scaling": {"type": "yarn", "factor": 4, "mscale": None}},
]


@pytest.mark.parametrize("older", OLDER_SPELLINGS, ids=["plain", "linear", "dynamic", "llama3", "yarn"])
def test_both_spellings_of_rotary_settings_bind_alike(llama: Spec, older: dict[str, object]) -> None:
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


INVALID_CONFIGS: dict[str, tuple[dict[Any, Any], str]] = {
    "empty": ({}, "vocab_size: missing key 'vocab_size'; set it in the config; or use a size: llama-3.2-1b"),
    "unread key": ({**TINY, "foo": 1}, "config.json: foo: the spec 'llama' does not read this key (value 1)"),
    "two thetas": (
        {**TINY, "rope_theta": 1e4, "rope_parameters": {"rope_theta": 2e4}},
        "rope_theta: rope_parameters.rope_theta is 20000.0 but rope_theta is 10000.0; both have the same meaning",
    ),
    "two scalings": (
        {**TINY, "rope_scaling": {"type": "linear", "factor": 2.0}, "rope_parameters": {"rope_type": "default"}},
        'config.json: rope_scaling: rope_parameters has null but rope_scaling is {"kind": "linear"',
    ),
    "two types": (
        {**TINY, "rope_scaling": {"type": "linear", "rope_type": "yarn"}},
        "rope_scaling: rope_type 'yarn' and type 'linear' disagree; both have the same meaning; keep one",
    ),
    "no type": ({**TINY, "rope_scaling": {"factor": 2.0}}, "missing key 'rope_type'; supported: none, linear"),
    "no factor": ({**TINY, "rope_scaling": {"type": "linear"}}, "rope_scaling: missing key 'factor'"),
    "unknown key of a scaling": (
        {**TINY, "rope_scaling": {"type": "linear", "factor": 2.0, "extra": 1}},
        "unknown key 'extra' in linear",
    ),
    "type not text": ({**TINY, "rope_scaling": {"type": []}}, "the rope scaling '[]' is not supported"),
    "scaling not a mapping": ({**TINY, "rope_scaling": 3}, "rope_scaling: expected a mapping, got 3"),
    "parameters not a mapping": ({**TINY, "rope_parameters": [3]}, "rope_parameters: expected a mapping, got [3]"),
    "text for a size": (
        {**TINY, "hidden_size": "64"},
        "hidden_size = '64' must be an integer (from config.json)",
    ),
    "float for a size": ({**TINY, "hidden_size": 64.0}, "hidden_size = 64.0 must be an integer"),
    "boolean for a size": ({**TINY, "hidden_size": True}, "hidden_size = true must be an integer"),
    "no layers": ({**TINY, "num_hidden_layers": 0}, "num_hidden_layers = 0 must be positive"),
    "many layers": ({**TINY, "num_hidden_layers": 10**6}, "num_hidden_layers = 1000000 must be at most 10,000"),
    "large width": ({**TINY, "hidden_size": 10**7}, "hidden_size = 10000000 must be at most 1,000,000"),
    "large vocabulary": ({**TINY, "vocab_size": 10**12}, "vocab_size = 1000000000000 must be at most 100,000,000"),
    "too large integer": ({**TINY, "vocab_size": 10**30}, "vocab_size: expected a finite number of at most 2**63"),
    "NaN": ({**TINY, "rms_norm_eps": float("nan")}, "rms_norm_eps: expected a finite number"),
    "heads": ({**TINY, "num_key_value_heads": 3}, "4 heads are not a multiple of 3 kv_heads"),
    "odd head": ({**TINY, "head_dim": 15}, "15 rotating dimensions; use an even number of at least 2"),
    "text for a boolean": (
        {**TINY, "attention_bias": "false"},
        "attention_bias: expected true, false or a mapping, got 'false'",
    ),
    "key not text": ({**TINY, 3: 4}, "config.json: expected text as a key, got 3"),
}


@pytest.mark.parametrize(("config", "message"), INVALID_CONFIGS.values(), ids=INVALID_CONFIGS)
def test_invalid_configs(llama: Spec, config: dict[Any, Any], message: str) -> None:
    with pytest.raises(ArchspecError) as raised:
        llama.bind(config)
    assert message in str(raised.value)


def test_one_invalid_value_is_one_problem(llama: Spec) -> None:
    with pytest.raises(SpecError) as raised:
        llama.bind({**TINY, "rms_norm_eps": -1.0})
    assert len(raised.value.problems) == 1
    with pytest.raises(ConfigError) as missing:
        llama.bind({"vocab_size": 3})
    assert len(missing.value.problems) == 4


def test_the_position_of_a_problem_is_that_of_the_value(llama: Spec) -> None:
    with pytest.raises(SpecError) as raised:
        llama.bind({**TINY, "num_attention_heads": -4}, source="model/config.json")
    assert str(raised.value).endswith(
        "llama.yaml:46:10: attention.heads: num_attention_heads = -4 must be positive (from model/config.json)"
    )


def test_a_rope_theta_is_an_error_if_the_spec_does_not_read_it(load: Load) -> None:
    spec = load("position: none\n")
    with pytest.raises(ConfigError, match="rope_theta: the spec 'spec' does not read this key"):
        spec.bind({"rope_theta": 2e4})


def test_a_table_of_learned_positions_is_as_long_as_the_context(load: Load) -> None:
    bound = load("position: learned\n").bind()
    assert bound.layers[0].position.size == 128  # type: ignore[union-attr]
