from __future__ import annotations

from pathlib import Path

import pytest

from archc.archspec import ConfigError, parse_config, read_config
from archc.archspec.config.reader import canonical_config, is_neutral


def test_reads_a_file_or_its_folder(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"a": [1, 2.5, null, {"b": "c"}]}')
    assert read_config(tmp_path) == read_config(tmp_path / "config.json") == {"a": [1, 2.5, None, {"b": "c"}]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x:1:1: is not JSON"),
        ('{"a": 1,}', "is not JSON"),
        ("[1]", "a JSON object is expected"),
        ('{"a": 1, "a": 1}', "the key 'a' appears twice"),
        ('{"b": {"a": 1, "a": 2}}', "the key 'a' appears twice"),
        ('{"a": NaN}', "NaN is not JSON"),
        ('{"a": -Infinity}', "-Infinity is not JSON"),
        ('{"a": 1e999}', "too large a number"),
        ('{"a": ' + "9" * 6000 + "}", "too large a number"),
        ('{"a": ' + "[" * 200_000, "nested too deeply"),
        (b'{"a": "\xff"}', "is not UTF-8 text"),
        (b"\xef\xbb\xbf{}", "is not JSON"),
    ],
)
def test_only_strict_json(text: str | bytes, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_config(text, "x")
    assert message in str(raised.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_config(tmp_path)


def test_canonical_spelling_is_a_fixed_point() -> None:
    config = {
        "max_position_embeddings": 8192,
        "rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6, "partial_rotary_factor": 0.5, "factor": 4.0},
    }
    once = canonical_config(config, "x")
    assert once == {
        "max_position_embeddings": 8192, "rope_theta": 1e6, "partial_rotary_factor": 0.5,
        "rope_scaling": {"kind": "yarn", "factor": 4.0, "original_max_position_embeddings": 8192},
    }  # fmt: skip
    assert canonical_config(once, "x") == once


def test_parameters_by_layer_type() -> None:
    nested = {
        "full_attention": {"rope_theta": 1e6, "rope_type": "linear", "factor": 8.0},
        "sliding_attention": {"rope_theta": 1e4, "rope_type": "default"}, "linear_attention": None,
    }  # fmt: skip
    once = canonical_config({"rope_parameters": nested}, "x")
    assert once["rope_parameters"] == {
        "full_attention": {
            "rope_theta": 1e6, "partial_rotary_factor": None, "rope_scaling": {"kind": "linear", "factor": 8.0},
        },
        "sliding_attention": {"rope_theta": 1e4, "partial_rotary_factor": None, "rope_scaling": None},
        "linear_attention": None,
    }  # fmt: skip
    assert canonical_config(once, "x") == once


@pytest.mark.parametrize(
    ("nested", "message"),
    [
        ({"full_attention": {}, "rope_theta": 1e4}, "rope_parameters.rope_theta: 10000.0 where a mapping is expected"),
        ({"sliding": {"rope_type": "lienar"}}, "rope_parameters.sliding.rope_type: the rope scaling 'lienar'"),
    ],
)
def test_faults_of_parameters_by_layer_type(nested: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        canonical_config({"rope_parameters": nested}, "config.json")
    assert message in str(raised.value)


def test_longrope_under_the_name_of_yarn() -> None:
    config = {
        "max_position_embeddings": 128, "original_max_position_embeddings": 64,
        "rope_scaling": {"type": "yarn", "long_factor": [2.0], "short_factor": [1.0]},
    }  # fmt: skip
    assert canonical_config(config, "x")["rope_scaling"]["kind"] == "longrope"


def test_longrope_in_its_older_spelling() -> None:
    config = {
        "max_position_embeddings": 128, "original_max_position_embeddings": 64,
        "rope_scaling": {"type": "su", "long_factor": [2.0, 3.0], "short_factor": [1.0, 1.0]},
    }  # fmt: skip
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


@pytest.mark.parametrize(
    "key", ["torch_dtype", "attention_dropout", "resid_pdrop", "bos_token_id", "auto_map", "id2label"]
)
def test_keys_that_change_nothing(key: str) -> None:
    assert is_neutral(key, "anything")


@pytest.mark.parametrize(("key", "value"), [("is_decoder", True), ("sliding_window", 3), ("quantization_config", {})])
def test_keys_that_may_change_something(key: str, value: object) -> None:
    assert not is_neutral(key, value)
    assert is_neutral(key, None)
    assert is_neutral("is_decoder", False)
