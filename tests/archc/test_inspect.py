"""`archc inspect`, `check`, `list` and `schema`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from archc.archspec import find_spec
from tests.archc.conftest import SMALL, TINY, Archc, sets

SPEC_KEYS = {
    "kind",
    "family",
    "description",
    "topology",
    "context",
    "size",
    "parameters",
    "weight_bytes",
    "state_bytes_per_token",
    "state_bytes_fixed",
    "flops_per_token",
    "attention_flops_per_token_and_position",
    "config",
    "layers",
    "tensors",
}


def test_small_lm(archc: Archc) -> None:
    result = archc("inspect", "small-lm")
    assert result.code == 0, result.err
    assert "128,625,408 parameters\n" in result.out
    assert "layers.0-11" in result.out
    assert "each of 12 alike" in result.out
    assert "layers.3.attention.q.weight" not in result.out
    listed = archc("inspect", "small-lm", "--tensors").out
    assert all(f"layers.{i}.attention.q.weight" in listed for i in range(12))
    assert result.err == ""


def test_json_of_a_spec(archc: Archc) -> None:
    found = archc("inspect", "small-lm", "--json").json
    assert set(found) == SPEC_KEYS
    assert found["parameters"] == sum(tensor["count"] for tensor in found["tensors"]) == 128_625_408
    assert found["weight_bytes"]["float32"] == 4 * 128_625_408
    assert found["state_bytes_per_token"]["float32"] == 12 * 2 * 768 * 4
    projections = 12 * (4 * 768 * 768 + 3 * 768 * 3072) + 768 * 10000
    assert found["flops_per_token"] == 2 * projections
    assert len(found["layers"]) == 12


def test_a_latent_cache_is_as_wide_as_the_latent_and_the_rotating_key(archc: Archc) -> None:
    found = archc("inspect", "deepseek-v2", "--size", "lite", "--json").json
    assert found["state_bytes_per_token"]["float32"] == 27 * (512 + 64) * 4
    assert found["state_bytes_fixed"]["float32"] == 0
    assert found["attention_flops_per_token_and_position"] == 27 * 2 * 16 * (512 + 64 + 512)


def test_layers_that_differ_are_not_folded(archc: Archc) -> None:
    kinds = "['none','none',40,40,'none','none','none','none','none','none','none','none']".replace("'", "")
    result = archc("inspect", "small-lm", "--set", f"attention.window={kinds}")
    assert result.code == 0, result.err
    assert all(name in result.out for name in ("layers.0-1 ", "layers.2-3 ", "layers.4-11 "))


def test_layers_that_share_weights(archc: Archc) -> None:
    result = archc("inspect", "small-lm", "--tensors", "--set", "layer.weights=layer // 6")
    assert result.code == 0, result.err
    assert result.out.count("shared by 6 layers") == 1  # two such runs, alike, are folded
    assert "layers.0.attention.q.weight" in result.out
    assert "layers.6.attention.q.weight" in result.out
    assert "layers.1.attention.q.weight" not in result.out


def test_experts_are_folded_and_a_token_pays_for_those_it_uses(archc: Archc) -> None:
    sizes = ("--size", "30b-a3b", "--set", "num_hidden_layers=2", "--set", "vocab_size=64")
    text = archc("inspect", "qwen3-moe", *sizes).out
    assert "experts.0-127" in text
    assert "each of 128 alike" in text
    found = archc("inspect", "qwen3-moe", *sizes, "--json").json
    attention, expert = 2048 * 128 * (32 + 4 + 4 + 32), 3 * 2048 * 768
    assert found["flops_per_token"] == 2 * (2 * (attention + 2048 * 128 + 8 * expert) + 64 * 2048)
    norms = 2 * (2 * 2048 + 2 * 128) + 2048
    assert found["parameters"] == 2 * (attention + 2048 * 128 + 128 * expert) + 2 * 64 * 2048 + norms
    names = {tensor["name"]: tensor["shape"] for tensor in found["tensors"]}
    assert names["layers.1.mlp.experts.127.down.weight"] == [2048, 768]


def test_sizes(archc: Archc) -> None:
    first = archc("inspect", "llama", "--json")
    assert first.json["size"] == "llama-2-7b"
    assert "showing llama-2-7b" in first.err
    named = archc("inspect", "llama", "--size", "llama-3.2-1b", "--json")
    assert named.json["size"] == "llama-3.2-1b"
    assert named.err == ""


def test_checkpoint_folder_shows_where_tensors_are(archc: Archc, tmp_path: Path) -> None:
    found = archc("inspect", TINY, "--json").json
    assert found["tensors"][0] == {
        "name": "embedding.tokens.weight",
        "shape": found["tensors"][0]["shape"],
        "count": found["tensors"][0]["count"],
        "checkpoint": "model.embed_tokens.weight",
    }
    assert "CHECKPOINT" in archc("inspect", "qwen2", "--weights", TINY).out
    shutil.copy(TINY / "config.json", tmp_path)
    assert "CHECKPOINT" not in archc("inspect", tmp_path).out
    assert archc("inspect", "qwen2", "--weights", tmp_path).code == 2


def test_plan(archc: Archc, qwen: Path) -> None:
    found = archc("inspect", qwen, "--json").json
    assert set(found) > SPEC_KEYS | {"target", "dtype", "inputs", "outputs", "state", "limits", "entries", "builder"}
    assert found["file_bytes"] == qwen.stat().st_size
    text = archc("inspect", qwen, "--tensors").out
    assert "target ort-cpu, dtype float32" in text
    assert "causal mask" in text
    assert all(name in text for name in found["entries"])
    assert all(tensor["name"] in text for tensor in found["tensors"])


def test_check_of_a_plan(archc: Archc, small: Path, tmp_path: Path) -> None:
    good = archc("inspect", small, "--check")
    assert good.code == 0
    assert good.out.endswith("checked: the SHA-256 of every entry matches\n")
    data = bytearray(small.read_bytes())
    data[data.index(b"\0" * 64, 9000) - 1] ^= 1
    place = tmp_path / "bad.plan"
    from archc.plan import Plan

    with Plan(small) as plan:
        start = plan.offset("weights.bin")
    data = bytearray(small.read_bytes())
    data[start] ^= 1
    place.write_bytes(data)
    bad = archc("inspect", place, "--check")
    assert bad.code == 1
    assert "weights.bin is damaged" in bad.errors[0]
    result = archc("inspect", place, "--check", "--json")
    assert (result.code, result.json["check"]["ok"]) == (1, False)
    assert archc("inspect", place).code == 0


def test_a_plan_whose_spec_is_from_elsewhere(archc: Archc, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from archc import archspec

    def refuse(*arguments: object) -> None:
        raise archspec.SpecError([archspec.Problem("spec", 1, 1, "layer", "unknown word")])

    monkeypatch.setattr(archspec, "load_spec_text", refuse)
    result = archc("inspect", small, "--tensors")
    assert result.code == 0
    assert "unknown word" in result.err
    assert "layers.0.attention.q" in result.out
    assert archc("inspect", small, "--json").json["layers"] is None


BAD_ARGUMENTS: dict[str, tuple[list[str], str]] = {
    "size-of-a-plan": (["PLAN", "--size", "small"], "--size has no effect on a plan"),
    "override-of-a-plan": (["PLAN", "--set", "a=1"], "--set has no effect on a plan"),
    "weights-of-a-plan": (["PLAN", "--weights", "x"], "--weights has no effect on a plan"),
    "check-of-a-spec": (["small-lm", "--check"], "--check has no effect on a spec"),
    "no-such-plan": (["gone.plan"], "gone.plan: no such file"),
    "no-such-spec": (["gone.yaml"], "gone.yaml"),
    "no-such-checkpoint": (["small-lm", "--weights", "gone"], "no such folder"),
    "heads-that-do-not-divide": (["small-lm", "--set", "num_heads=7"], "attention.head_dim"),
}


@pytest.mark.parametrize("case", BAD_ARGUMENTS)
def test_bad_arguments(archc: Archc, small: Path, case: str) -> None:
    arguments, message = BAD_ARGUMENTS[case]
    result = archc("inspect", *(str(small) if word == "PLAN" else word for word in arguments))
    assert (result.code, result.out) == (2, "")
    assert any(message in line for line in result.errors), result.err


def test_errors_as_json(archc: Archc) -> None:
    result = archc("inspect", "small-lm", "--set", "mlp.kind=gate", "--json")
    assert result.code == 2
    assert result.json["problems"][0]["message"].startswith("expected one of plain")


def test_check_of_specs(archc: Archc, tmp_path: Path) -> None:
    result = archc("check", "small-lm", "llama")
    assert result.code == 0, result.err
    assert "128,625,408 parameters in 111 tensors" in result.out
    assert "size llama-3-8b: 32 layers, 8,030,261,248 parameters" in result.out
    spec = tmp_path / "mine.yaml"
    spec.write_text("family: mine\nextends: llama\nmlp: {kindd: plain}\nhead: {tei: true}\n")
    bad = archc("check", spec, "small-lm")
    assert bad.code == 2
    assert len(bad.errors) == 2
    assert f"{spec}:3:7" in bad.errors[0]
    assert bad.out.startswith("ok: small-lm")


def test_check_finds_slots_without_a_name(archc: Archc) -> None:
    result = archc("check", "small-lm", "--set", "layer.norm.placement=sandwich")
    assert result.code == 2
    assert "no entry for 'layer.mixer_output_norm.weight'" in result.errors[0]


def test_check_without_sizes(archc: Archc, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("family: mine\nextends: llama\n")
    result = archc("check", tmp_path / "mine.yaml")
    assert result.code == 0
    assert "a checkpoint's config must set vocab_size" in result.out


def test_list_and_schema(archc: Archc) -> None:
    text = archc("list")
    found = archc("list", "--json").json
    assert text.code == 0
    names = [spec["name"] for spec in found["specs"]]
    assert "small-lm" in names
    assert all(name in text.out for name in names)
    assert set(found["specs"][0]) == {"name", "description", "sizes", "path"}
    schema = archc("schema")
    assert schema.code == 0
    assert json.loads(schema.out)["$schema"].startswith("https://json-schema.org/")


def test_list_with_a_spec_at_fault(archc: Archc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(find_spec("small-lm"), tmp_path)
    (tmp_path / "bad.yaml").write_text("family: [\n")
    monkeypatch.setattr("archc.archspec.source.catalog.specs_dir", lambda: tmp_path)
    text = archc("list")
    assert text.code == 0
    assert "small-lm" in text.out
    assert "bad.yaml:" in text.err
    bad, small = archc("list", "--json").json["specs"]
    assert "bad.yaml:" in bad["error"]
    assert "error" not in small


def test_sets_of_sizes(archc: Archc) -> None:
    found = archc("inspect", "small-lm", "--json", *sets(SMALL)).json
    assert len(found["layers"]) == 2


def test_tensors_of_other_parts(archc: Archc, tmp_path: Path) -> None:
    config = json.loads((TINY / "config.json").read_text("utf-8"))
    nested = {"model_type": "pictures", "text_config": config, "vision_config": {"depth": 1}}
    (tmp_path / "config.json").write_text(json.dumps(nested), "utf-8")
    tensors = {f"language_model.{name}": value for name, value in load_file(TINY / "model.safetensors").items()}
    save_file({**tensors, "vision.proj.weight": np.zeros((2, 2), np.float32)}, tmp_path / "model.safetensors")
    result = archc("inspect", str(tmp_path))
    assert result.code == 0, result.err
    assert "not read: 1 tensors of the other parts of a multimodal checkpoint\n" in result.out
    listed = archc("inspect", "qwen2", "--weights", str(tmp_path)).out
    assert "language_model.model.norm.weight" in listed
