"""The same weights under the config spellings of both generations give the same plan."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from transformers import ApertusConfig, Exaone4Config, PreTrainedConfig

from archspec import load_spec, read_config
from compiler.build import build
from tests.families.collection import cases_of


def older(config: dict[str, Any]) -> dict[str, Any]:
    """rope_parameters as files before transformers 5 have it."""
    config = copy.deepcopy(config)
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = None if rope["rope_type"] == "default" else {"type": rope.pop("rope_type"), **rope}
    return config


def respelled(name: str, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A case's config in both spellings, its checkpoint in the folder."""
    next(case for case in cases_of("llama") if case.name == name).make().save(folder)
    newer = read_config(folder)
    assert "rope_parameters" in newer
    return newer, older(newer)


@pytest.mark.parametrize("name", ["grouped", "linear", "dynamic", "llama3", "yarn", "yarn-factor", "yarn-mscale"])
def test_older_and_newer_config_bind_alike(name: str, tmp_path: Path) -> None:
    spec = load_spec("llama")
    newer, before = (spec.bind(config) for config in respelled(name, tmp_path))
    assert before == newer


@pytest.mark.parametrize(
    ("family", "config", "key"),
    [
        ("exaone4", Exaone4Config(), "sliding_window"),
        ("exaone4", Exaone4Config(), "layer_types"),
        ("apertus", ApertusConfig(), "rope_parameters"),
    ],
)
def test_a_key_that_is_not_there_is_what_the_class_takes_it_for(
    family: str, config: PreTrainedConfig, key: str
) -> None:
    whole = config.to_dict()
    assert whole[key] is not None
    less = {name: value for name, value in whole.items() if name != key}
    assert load_spec(family).bind(less).layers == load_spec(family).bind(whole).layers


def test_older_and_newer_config_give_equal_plans(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    _, before = respelled("yarn", checkpoint)
    newer = build(checkpoint, out=tmp_path / "newer.plan")
    (checkpoint / "config.json").write_text(json.dumps(before), "utf-8")
    assert build(checkpoint, out=tmp_path / "older.plan").read_bytes() == newer.read_bytes()
