"""Checkpoints whose config is incomplete or missing: sizes are read off the shapes of the tensors."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from archc.archspec import ConfigError
from archc.cli.app import main
from archc.compiler.build import build
from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.containers import open_weights
from archc.plan import Plan
from archc.runtime.engine import load
from tests.reference.rwkv7 import Rwkv7

IDS = [1, 17, 40, 3, 55, 9]
pytestmark = pytest.mark.filterwarnings("ignore:.*no tokenizer file found")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of an RWKV-7, in the names of its authors."""
    path = tmp_path_factory.mktemp("rwkv7") / "model.pth"
    torch.save(Rwkv7(1, width=16, head=8, rank=3, layers=2).weights, path)
    return path


def tensors_of(file: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a file by name."""
    weights = open_weights(file)
    return {name: weights.read(name) for name in weights.names()}


def config_of(plan: Path) -> dict[str, Any]:
    with Plan(plan) as opened:
        return opened.manifest.config


def test_every_way_to_name_a_file_gives_the_same_sizes(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "engine.plan"
    by_file = config_of(build(file, out=out))
    assert {key: by_file[key] for key in ("hidden_size", "num_hidden_layers", "head_dim", "vocab_size")} == {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "head_dim": 8,
        "vocab_size": 97,
    }
    assert [by_file[f"{name}_rank"] for name in ("decay", "rate", "value", "gate")] == [3, 4, 5, 6]
    assert config_of(build("rwkv7", weights=file, out=out)) == by_file
    assert config_of(build(file.parent, out=out)) == by_file
    assert config_of(build("rwkv7", weights=file.parent, out=out)) == by_file
    assert config_of(build(file, random=1, out=out)) == by_file
    assert config_of(build(file, out=out, overrides=["layer_norm_epsilon=0.1"])) == {
        **by_file,
        "layer_norm_epsilon": 0.1,
    }


def test_commands_with_a_file(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = str(tmp_path / "engine.plan")
    assert main(["build", str(file), "-o", plan]) == 0
    assert main(["verify", plan, "--weights", str(file), "--ids", "1,2,3"]) == 0
    assert main(["check", str(file)]) == 0
    assert "shapes of the tensors: 2 layers" in capsys.readouterr().out
    assert main(["inspect", str(file), "--weights", str(file)]) == 0
    assert "blocks.1.att.v1" in capsys.readouterr().out


def test_ranks_that_the_config_leaves_out(tmp_path: Path) -> None:
    reference = Rwkv7(3, fla=True, layers=2)
    reference.save(tmp_path)
    ranks = ("decay_low_rank_dim", "a_low_rank_dim", "v_low_rank_dim")
    config = {**reference.config, **dict.fromkeys(ranks), "head_dim": None}
    del config["gate_low_rank_dim"]
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    plan = build(tmp_path, out=tmp_path / "engine.plan")
    np.testing.assert_allclose(load(plan).logits([IDS])[0], reference.row(IDS), atol=1e-4, rtol=0)


def test_a_tensor_that_states_a_required_value_is_missing(file: Path, tmp_path: Path) -> None:
    weights = tensors_of(file)
    del weights["emb.weight"]
    torch.save(weights, tmp_path / "model.pth")
    message = "hidden_size: no config.json, and axis 1 of tensor 'emb.weight' not found, which states the value; add"
    with pytest.raises(BuildError, match=re.escape(message)):
        build(tmp_path / "model.pth", out=tmp_path / "engine.plan")


def test_a_layer_of_another_size(file: Path, tmp_path: Path) -> None:
    weights = tensors_of(file)
    weights["blocks.1.att.w1"] = torch.ones(16, 9)
    torch.save(weights, tmp_path / "model.pth")
    message = r"recurrence.decay.down.weight: the spec expects shape \[3, 16\], but 'blocks.1.att.w1' \[16, 9\]"
    with pytest.raises(BuildError, match=message):
        build(tmp_path / "model.pth", out=tmp_path / "engine.plan")


def test_a_value_width_that_differs_between_layers(tmp_path: Path) -> None:
    reference = Rwkv7(3, fla=True, layers=2)
    reference.config["value_dim"] = [24, 48]
    reference.save(tmp_path)
    path = tmp_path / "model.safetensors"
    wide = {"model.layers.1.attn.v_proj.weight": torch.ones(48, 24)}
    save_file({**load_file(path), **wide}, path)
    message = r"expects shape \[24, 24\], but 'model.layers.1.attn.v_proj.weight' \[48, 24\]"
    with pytest.raises(BuildError, match=message):
        build(tmp_path, out=tmp_path / "engine.plan")


def test_a_file_of_another_family(tmp_path: Path) -> None:
    save_file({"model.embed_tokens.weight": torch.ones(4, 4)}, tmp_path / "model.safetensors")
    with pytest.raises(
        ConfigError, match=r"no config.json, and no spec matches the names of the tensors; pass the fol"
    ):
        build(tmp_path / "model.safetensors", out=tmp_path / "engine.plan")
    with pytest.raises(ConfigError, match=r"no default for vocab_size, hidden_size, .*; choose a size"):
        build("llama", weights=tmp_path / "model.safetensors", out=tmp_path / "engine.plan")


def test_several_files_in_a_folder(file: Path, tmp_path: Path) -> None:
    for name in ("a.pth", "b.pth"):
        (tmp_path / name).write_bytes(file.read_bytes())
    with pytest.raises(BuildError, match=r"2 pth files \(a.pth, b.pth\).*or give one file itself"):
        build(tmp_path, out=tmp_path / "engine.plan")
