"""Settings of single layers, which specs read as a list."""

from __future__ import annotations

import re
from typing import Any

import pytest

from archc.archspec.config.layer_settings import with_layer_settings
from archc.archspec.errors import ConfigError

CONFIG: dict[str, Any] = {"num_hidden_layers": 3, "heads": 4, "head_dim": 8}


def test_keys_that_differ_in_one_layer_have_a_value_in_all() -> None:
    settings = {"1": {"heads": 2}, "2": {"head_dim": 16}}
    result = with_layer_settings(CONFIG | {"per_layer_config": settings}, "config.json")
    assert result["per_layer_config"] == [
        {"heads": 4, "head_dim": 8},
        {"heads": 2, "head_dim": 8},
        {"heads": 4, "head_dim": 16},
    ]
    assert with_layer_settings(result, "config.json") == result


def test_a_key_that_the_config_lacks_is_absent_in_layers_without_it() -> None:
    config = {"num_hidden_layers": 11, "per_layer_config": {"00": {"head_dim": 16}, "10": {"head_dim": 32}}}
    result = with_layer_settings(config, "config.json")
    assert result["per_layer_config"] == [{"head_dim": 16}, *[{}] * 9, {"head_dim": 32}]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"per_layer_config": {"3": {}}}, "per_layer_config.3: expected the settings of one of 3 layers"),
        ({"per_layer_config": {"x": {}}}, "per_layer_config.x: expected the settings of one of 3 layers"),
        ({"per_layer_config": {"0": 7}}, "per_layer_config.0: expected the settings of one of 3 layers"),
        (
            {"per_layer_config": {"0": {}}, "num_hidden_layers": -1},
            "num_hidden_layers is -1, which is no number of layers",
        ),
    ],
    ids=["no such layer", "no number", "no settings", "no layers"],
)
def test_settings_of_no_layer(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        with_layer_settings(CONFIG | changes, "config.json")
