"""`archc new`."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from archc.archspec import json_schema, load_spec
from archc.archspec.vocabulary import Model
from archc.archspec.vocabulary.schema import keys_of
from archc.authoring.draft import slug
from archc.authoring.proposals import KEYS, TENSORS, Proposals
from tests.archc.conftest import TINY, Archc


@pytest.fixture
def renamed(tmp_path: Path) -> Path:
    """Return the example's checkpoint under another model type, with norms of queries and without biases."""
    folder = tmp_path / "renamed"
    copytree(TINY, folder)
    tensors = {name: t for name, t in load_file(folder / "model.safetensors").items() if not name.endswith(".bias")}
    for layer in range(5):
        for part in "qk":
            tensors[f"model.layers.{layer}.self_attn.{part}_norm.weight"] = tensors["model.norm.weight"][:32].clone()
    save_file(tensors, folder / "model.safetensors")
    _change(folder, model_type="brandnew", architectures=["BrandNewForCausalLM"])
    return folder


def _change(folder: Path, **values: Any) -> None:
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, **values}), "utf-8")


def test_a_draft_extends_the_nearest_spec_and_passes_the_checks(archc: Archc, renamed: Path, tmp_path: Path) -> None:
    out = tmp_path / "brand-new.yaml"
    result = archc("new", renamed, "-o", out, "--extends", "llama")
    assert result.code == 0, result.err
    text = out.read_text("utf-8")
    assert "extends: llama\nmatch: {model_type: brandnew, architectures: [BrandNewForCausalLM]}\n" in text
    assert "source: renamed config.json\n" in text
    (tensor,) = [line for line in text.splitlines() if "q_norm" in line]
    assert tensor.startswith("#   model.layers.{layer}.self_attn.q_norm.weight [32] × 5  # attention.qk_norm (")
    assert "layer.attention.q_norm in " in tensor
    assert "unread tensors by pattern: 2" in result.err
    spec = load_spec(out)
    assert spec.family == "brand-new"
    assert spec.bind(size="published").config["hidden_size"] == 128
    assert archc("check", out).code == 0


def test_the_nearest_spec_reads_the_tensors(archc: Archc, renamed: Path) -> None:
    assert "\nextends: qwen3\n" in archc("new", renamed).out
    assert "\nextends: qwen2\n" in archc("new", TINY).out


def test_a_spec_that_refuses_the_config_is_not_nearer_for_its_uncompared_tensors(archc: Archc, tmp_path: Path) -> None:
    folder = tmp_path / "fused"
    copytree(TINY, folder)
    tensors = load_file(folder / "model.safetensors")
    for layer in range(5):
        for kind in ("weight", "bias"):
            parts = [tensors.pop(f"model.layers.{layer}.self_attn.{part}_proj.{kind}") for part in "qkv"]
            tensors[f"model.layers.{layer}.self_attn.qkv.{kind}"] = torch.cat(parts)
    save_file(
        {name.replace("model.layers", "blocks"): tensor for name, tensor in tensors.items()},
        folder / "model.safetensors",
    )
    _change(folder, model_type="lantern", architectures=["LanternForCausalLM"], norm_epsilon=1e-6)
    text = archc("new", folder).out
    assert "\nextends: qwen2\n" in text  # and not a spec with other positions, whose tables may not be tied
    assert "#   blocks.{layer}.self_attn.qkv.weight [256, 128] × 5" in text


def test_keys_that_no_section_reads(archc: Archc, tmp_path: Path) -> None:
    config = json.loads((TINY / "config.json").read_text("utf-8"))
    text_config = {**config, "model_type": "brandnew_text", "final_logit_softcapping": 30.0, "frobnicate": 3}
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"model_type": "brandnew", "text_config": text_config, "vision_config": {}}), "utf-8")
    text = archc("new", file, "--extends", "qwen2").out
    assert "match: {model_type: brandnew_text, architectures: [Qwen2ForCausalLM]}" in text
    assert "#   final_logit_softcapping:  # 30.0; head.softcap; read by " in text
    assert "#   frobnicate:  # 3\n" in text
    assert "# The tensors were not compared" in text


def test_rotary_settings_that_are_not_supported_are_a_comment(archc: Archc, renamed: Path) -> None:
    _change(renamed, rope_scaling={"rope_type": "spiral", "factor": 2.0})
    result = archc("new", renamed, "--extends", "qwen3")
    assert result.code == 0, result.err
    assert "# Rotary settings that are not supported:\n#   rope_scaling\n" in result.out
    assert "'spiral' is not supported" in result.out


def test_errors(archc: Archc, tmp_path: Path) -> None:
    out = tmp_path / "there.yaml"
    out.write_text("family: there\n", "utf-8")
    assert "the file exists" in archc("new", TINY, "-o", out).errors[0]
    assert "ends in .yaml" in archc("new", TINY, "-o", tmp_path / "x").errors[0]
    assert "no such shipped spec" in archc("new", TINY, "--extends", "lama").errors[0]
    assert archc("new", tmp_path).code == 2
    assert out.read_text("utf-8") == "family: there\n"


def test_names() -> None:
    assert slug("My_Model v2.yaml") == "my-model-v2-yaml"


def test_proposals_name_words_of_the_vocabulary() -> None:
    schema = json.dumps(json_schema())
    for _, word, _ in (*TENSORS, *KEYS):
        section, *keys = word.split(".")
        assert section == "variants" or section in keys_of(Model), word
        assert all(f'"{key}"' in schema for key in keys), word


def test_tensors_of_shipped_specs_are_found() -> None:
    proposals = Proposals({name: load_spec(name) for name in ("gpt-oss", "olmo2")})
    assert proposals.of_tensor("model.layers.{layer}.self_attn.sinks").startswith("attention.sinks (")
    assert proposals.of_tensor("m.{layer}.post_feedforward_layernorm.weight").endswith("layer.mlp_output_norm in olmo2")
    assert proposals.of_tensor("model.layers.{layer}.self_attn.q_proj.bias").startswith("attention.bias ({qkv: true})")
    assert proposals.of_tensor("nothing.like_it") == ""
