"""`archc diff`."""

from __future__ import annotations

from pathlib import Path
from shutil import copytree

import pytest
from safetensors.torch import load_file, save_file

from tests.archc.conftest import TINY, Archc


@pytest.fixture
def child(tmp_path: Path) -> Path:
    """Return a spec that differs from llama in a few values, and spells one key of the config in another way."""
    path = tmp_path / "child.yaml"
    path.write_text(
        "family: child\n"
        "extends: llama\n"
        "config:\n  dim:\n  head_dim: dim // num_attention_heads\n"
        "embedding: {width: dim}\n"
        "attention: {qk_norm: {kind: layernorm, eps: 1e-3}, bias: {qkv: attention_bias, out: attention_bias}}\n"
        "mlp: {activation: gelu}\n"
        "weights:\n  tensors:\n    layer.attention.{q,k}_norm: model.layers.{layer}.self_attn.{q,k}_norm\n",
        "utf-8",
    )
    return path


def test_equal_specs(archc: Archc, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("family: other\nextends: llama\nattention: {sinks: false, window: none}\n", "utf-8")
    result = archc("diff", "llama", other)
    assert (result.code, result.out) == (0, "equal\n")
    assert archc("diff", "llama", other, "--json").json["equal"] is True


def test_two_specs(archc: Archc, child: Path) -> None:
    result = archc("diff", "llama", child, "--json")
    assert result.code == 1
    by_path = {(item["part"], item["path"]): item for item in result.json["differences"]}
    assert by_path["computation", "attention.qk_norm"]["b"]["kind"] == "layernorm"
    assert by_path["computation", "mlp.activation"]["a"] == "hidden_act"
    assert by_path["config", "hidden_size"]["b"] == "dim"
    assert by_path["weights", "layer.attention.q_norm"]["a"] is None
    computation = {path for part, path in by_path if part == "computation"}
    assert computation - {"attention.bias"} == {"attention.qk_norm", "mlp.activation"}  # another spelling is no change


def test_text(archc: Archc, child: Path) -> None:
    out = archc("diff", "llama", child).out
    assert "\n  attention.qk_norm: {kind: none} → {kind: layernorm, " in out
    assert "   Norm on queries and keys\n" in out
    assert "\nKeys of config.json\n  hidden_size: hidden_size → dim   other spelling of the key\n" in out


def test_a_spec_and_a_checkpoint(archc: Archc, tmp_path: Path) -> None:
    assert archc("diff", "qwen2", TINY).out == "equal\n"
    first, second = archc("diff", "llama", TINY, "--json"), archc("diff", TINY, "llama", "--json")
    assert (first.code, second.code) == (1, 1)
    bias = next(item for item in first.json["differences"] if item["part"] == "computation")
    assert (bias["path"], bias["a"], bias["b"]) == ("layers[0-4].attention.bias.qkv", False, True)
    swapped = next(item for item in second.json["differences"] if item["part"] == "computation")
    assert (swapped["a"], swapped["b"]) == (True, False)
    unread = [item["path"] for item in first.json["differences"] if item["part"] == "checkpoint"]
    assert "model.layers.{layer}.self_attn.q_proj.bias" in unread
    folder = tmp_path / "less"
    copytree(TINY, folder)
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, folder / "model.safetensors")
    assert "  final_norm.weight: required → none   slot that no tensor fills\n" in archc("diff", "qwen2", folder).out


def test_two_checkpoints(archc: Archc, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    copytree(TINY, folder)
    config = (folder / "config.json").read_text("utf-8")
    (folder / "config.json").write_text(config.replace('"rms_norm_eps": 1e-06', '"rms_norm_eps": 1e-04'), "utf-8")
    out = archc("diff", TINY, folder).out
    assert "  final_norm.eps: 1e-06 → 0.0001\n  layers[0-4].norm.eps: 1e-06 → 0.0001\n" in out


def test_errors(archc: Archc) -> None:
    result = archc("diff", "llama", "lama", "--json")
    assert result.code == 2
    assert "spec 'lama' not found" in result.json["error"]
