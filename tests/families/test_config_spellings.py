"""Configs in the spelling of transformers 4 and of transformers 5 bind alike and build the same plan."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from transformers import CONFIG_MAPPING

from archc.archspec import BoundSpec, ConfigError, load_spec, parse_config, read_config
from archc.archspec.source.catalog import shipped
from archc.compiler.build import build
from tests.families.collection import cases_of


def older(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config with rope_parameters spelled as before transformers 5."""
    config = copy.deepcopy(config)
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = None if rope["rope_type"] == "default" else {"type": rope.pop("rope_type"), **rope}
    return config


def respelled(name: str, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Save a case's checkpoint in the folder; return its config in both spellings."""
    next(case for case in cases_of("llama") if case.name == name).make().save(folder)
    newer = read_config(folder)
    assert "rope_parameters" in newer
    return newer, older(newer)


@pytest.mark.parametrize("name", ["grouped", "linear", "dynamic", "llama3", "yarn", "yarn-factor", "yarn-mscale"])
def test_older_and_newer_config_bind_alike(name: str, tmp_path: Path) -> None:
    spec = load_spec("llama")
    newer, before = (spec.bind(config) for config in respelled(name, tmp_path))
    assert before == newer


# Defaults of a class under which it is no model of the family.
REPLACED_DEFAULTS = {
    "deepseek_v2": {"num_experts_per_tok": 2},
    "deepseek_ocr2_text": {"num_experts_per_tok": 6, "mlp_layer_types": ["dense", *["sparse"] * 31]},
    "dots1": {"n_routed_experts": 64, "num_experts_per_tok": 6},
    "esm": {"vocab_size": 33, "pad_token_id": 1},
    "glm4_moe": {"hidden_size": 12288},
    "glm4v_moe_text": {"hidden_size": 12288},
    "xmod": {"default_language": "en_XX"},
    "qwen3_omni_moe_text": {"num_attention_heads": 32},
    "qwen4_exp_text": {
        "indexer_n_heads": 4,
        "indexer_head_dim": 256,
        "indexer_budget": 2048,
        "indexer_compress_ratio": 32,
    },
}
CLASSES = [(family, kind) for family in shipped() for kind in load_spec(family).model_types if kind in CONFIG_MAPPING]


def sections(bound: BoundSpec) -> list[Any]:
    """Return the parts of a bound spec that define the computation; the context length is not one."""
    stack = [bound.embedding, bound.layers, bound.final_norm, bound.head, bound.pooler]
    return [*stack, *(sections(bound.encoder) if bound.encoder is not None else ())]


def of_class(model_type: str, config: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the config.json that the class of a model_type writes for these keys."""
    return parse_config(json.dumps(CONFIG_MAPPING[model_type](**config or {}).to_dict()), "config.json")


@pytest.mark.parametrize(("family", "model_type"), CLASSES, ids=map("-".join, CLASSES))
def test_an_absent_key_has_the_default_of_the_class(family: str, model_type: str) -> None:
    spec = load_spec(family)
    config = of_class(model_type) | REPLACED_DEFAULTS.get(model_type, {})
    whole = sections(spec.bind(config))
    for key in filter(spec.reads_config, config):
        rest = {name: value for name, value in config.items() if name != key}
        try:
            less = spec.bind(rest)
        except ConfigError as error:
            assert [key in problem.message for problem in error.problems] == [True]  # noqa: PT017 - no error is fine, too
        else:
            # A default may depend on other keys, which the class has changed.
            assert sections(less) == whole or sections(less) == sections(spec.bind(of_class(model_type, rest))), key


def test_older_and_newer_config_build_equal_plans(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    _, before = respelled("yarn", checkpoint)
    newer = build(checkpoint, out=tmp_path / "newer.plan")
    (checkpoint / "config.json").write_text(json.dumps(before), "utf-8")
    assert build(checkpoint, out=tmp_path / "older.plan").read_bytes() == newer.read_bytes()
