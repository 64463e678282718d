"""`archc inspect --tensors`."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree

import pytest
from safetensors.torch import load_file, save_file

from archc.authoring.patterns import collapse
from archc.layer_ranges import format_ranges
from tests.archc.conftest import TINY, Archc


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    """Return the example's checkpoint with tensors that its spec does not read, and without one that it reads."""
    folder = tmp_path / "changed"
    copytree(TINY, folder)
    tensors = load_file(folder / "model.safetensors")
    norm = tensors.pop("model.layers.1.input_layernorm.weight")
    for layer in (0, 1, 3):
        tensors[f"model.layers.{layer}.self_attn.sinks"] = norm[:4].clone()
    save_file(tensors, folder / "model.safetensors")
    return folder


def test_names_become_patterns() -> None:
    assert collapse("model.layers.12.mlp.experts.3.up_proj.weight") == (
        "model.layers.{layer}.mlp.experts.{expert}.up_proj.weight",
        12,
    )
    assert collapse("blocks.0.convs.1.weight") == ("blocks.{layer}.convs.{index}.weight", 0)
    assert collapse("norm2.weight") == ("norm2.weight", None)
    assert format_ranges((0, 1, 2, 4, 6, 7)) == "0-2, 4, 6-7"


def test_tensors_of_a_checkpoint(archc: Archc) -> None:
    found = archc("inspect", TINY, "--tensors", "--json").json
    assert (found["family"], found["unfilled"], found["error"]) == ("qwen2", [], None)
    assert {group["use"] for group in found["tensors"]} == {"read"}
    by_pattern = {group["pattern"]: group for group in found["tensors"]}
    bias = by_pattern["model.layers.{layer}.self_attn.k_proj.bias"]
    assert (bias["shape"], bias["dtype"], bias["count"], bias["layers"]) == ([64], "BF16", 5, [0, 1, 2, 3, 4])
    text = archc("inspect", TINY, "--tensors").out
    assert text.endswith("62 tensors; of the spec qwen2: 62 read\n")


def test_tensors_that_the_spec_does_not_fit(archc: Archc, changed: Path) -> None:
    result = archc("inspect", changed, "--tensors")
    assert result.code == 0, result.err
    sinks = next(line for line in result.out.splitlines() if "sinks" in line)
    assert sinks.split() == ["model.layers.{layer}.self_attn.sinks", "[4]", "BF16", "3", "0-1,", "3", "unread"]
    assert "64 tensors; of the spec qwen2: 61 read, 3 not read" in result.out
    assert result.out.endswith("no tensor fills layer.mixer_norm.weight\n")


def test_the_spec_may_be_another_one(archc: Archc, changed: Path) -> None:
    found = archc("inspect", "llama", "--weights", changed, "--tensors", "--ignore-config", "*", "--json")
    assert found.json["family"] is None
    assert "the use of the tensors is unknown" in found.err
    config = json.loads((changed / "config.json").read_text("utf-8"))
    (changed / "config.json").write_text(json.dumps({**config, "model_type": "nothing-like-it"}), "utf-8")
    result = archc("inspect", changed, "--tensors")
    assert (result.code, "USE" in result.out) == (0, False)
    assert result.out.endswith("\n64 tensors\n")
    assert "no spec matches model_type" in result.err
    assert archc("inspect", "qwen2", "--weights", changed, "--tensors", "--json").json["family"] == "qwen2"


def test_options_that_do_not_go_together(archc: Archc) -> None:
    assert "--check has no effect with --tensors" in archc("inspect", TINY, "--tensors", "--check").errors[0]
    assert "missing is no checkpoint" in archc("inspect", "llama", "--weights", "missing", "--tensors").errors[0]
