from __future__ import annotations

import pytest

from archc.archspec import ConfigError
from archc.archspec.config.neutral_keys import is_neutral
from archc.archspec.config.rope_settings import canonical_config


def test_canonical_spelling_is_a_fixed_point() -> None:
    config = {
        "max_position_embeddings": 8192,
        "rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6, "partial_rotary_factor": 0.5, "factor": 4.0},
    }
    once = canonical_config(config, "x")
    assert once == {
        "max_position_embeddings": 8192,
        "rope_theta": 1e6,
        "partial_rotary_factor": 0.5,
        "rope_scaling": {"kind": "yarn", "factor": 4.0, "original_max_position_embeddings": 8192},
    }
    assert canonical_config(once, "x") == once


def test_factor_on_queries_is_no_part_of_the_rotary_embedding() -> None:
    parameters = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 64}
    of_queries = {"llama_4_scaling_beta": 0.1, "max_position_embeddings": 256}
    config = canonical_config({"rope_parameters": parameters | of_queries}, "x")
    assert config["llama_4_scaling_beta"] == 0.1
    assert config["rope_scaling"] == {"kind": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}


def test_parameters_by_layer_type() -> None:
    nested = {
        "full_attention": {"rope_theta": 1e6, "rope_type": "linear", "factor": 8.0},
        "sliding_attention": {"rope_theta": 1e4, "rope_type": "default"},
        "linear_attention": None,
    }
    once = canonical_config({"rope_parameters": nested}, "x")
    assert once["rope_parameters"] == {
        "full_attention": {
            "rope_theta": 1e6,
            "partial_rotary_factor": None,
            "rope_scaling": {"kind": "linear", "factor": 8.0},
        },
        "sliding_attention": {"rope_theta": 1e4, "partial_rotary_factor": None, "rope_scaling": None},
        "linear_attention": None,
    }
    assert canonical_config(once, "x") == once


@pytest.mark.parametrize(
    ("nested", "message"),
    [
        ({"full_attention": {}, "rope_theta": 1e4}, "rope_parameters.rope_theta: expected a mapping, got 10000.0"),
        ({"sliding": {"rope_type": "lienar"}}, "rope_parameters.sliding.rope_type: the rope scaling 'lienar'"),
    ],
    ids=["not a mapping", "unknown scaling"],
)
def test_invalid_parameters_by_layer_type(nested: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        canonical_config({"rope_parameters": nested}, "config.json")
    assert message in str(raised.value)


def test_longrope_named_yarn() -> None:
    config = {
        "max_position_embeddings": 128,
        "original_max_position_embeddings": 64,
        "rope_scaling": {"type": "yarn", "long_factor": [2.0], "short_factor": [1.0]},
    }
    assert canonical_config(config, "x")["rope_scaling"]["kind"] == "longrope"


def test_longrope_named_su() -> None:
    config = {
        "max_position_embeddings": 128,
        "original_max_position_embeddings": 64,
        "rope_scaling": {"type": "su", "long_factor": [2.0, 3.0], "short_factor": [1.0, 1.0]},
    }
    scaling = canonical_config(config, "x")["rope_scaling"]
    assert scaling["kind"] == "longrope"
    assert scaling["original_max_position_embeddings"] == 64
    assert is_neutral("original_max_position_embeddings", 64)


def test_the_trained_length_of_dynamic_scaling() -> None:
    config = {"max_position_embeddings": 64, "rope_scaling": {"type": "dynamic", "factor": 2.0}}
    assert canonical_config(config, "x")["rope_scaling"]["original_max_position_embeddings"] == 64
    config["rope_scaling"]["original_max_position_embeddings"] = 32  # type: ignore[index]
    with pytest.raises(ConfigError, match="32 disagrees with max_position_embeddings = 64"):
        canonical_config(config, "x")
