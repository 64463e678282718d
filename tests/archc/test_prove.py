"""`archc prove`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from archc.proof.failure import CheckError, require
from archc.proof.random_weights import fill_zero_buffers
from archc.proof.tiny import tiny_sizes
from tests.archc.conftest import TINY, Archc

MATCH = "match: {model_type: qwen2, architectures: [Qwen2ForCausalLM]}\n"


def test_a_table_that_lacks_a_tensor_fails(archc: Archc, tmp_path: Path) -> None:
    spec = tmp_path / "less.yaml"
    spec.write_text(f"family: less\nextends: qwen2\n{MATCH}attention: {{bias: false}}\n", "utf-8")
    result = archc("prove", spec, "--weights", TINY)
    assert result.code == 1
    assert "FAILED  checkpoint   " in result.out
    assert "FAILED  slots        " in result.out
    assert "unused tensor 'model.layers.0.self_attn.k_proj.bias'" in result.out


def test_sizes_that_the_class_refuses(archc: Archc) -> None:
    found = archc("prove", "qwen2", "--config", "num_hidden_layers=-1", "--json")
    assert found.code == 1
    assert found.json["steps"][-1]["name"] == "reference"
    assert "expected KEY=VALUE" in archc("prove", "qwen2", "--config", "num_hidden_layers=x").errors[0]


@pytest.mark.slow
@pytest.mark.parametrize("eps", [True, False], ids=["right", "wrong"])
def test_the_whole_ladder(archc: Archc, tmp_path: Path, eps: bool) -> None:
    spec = tmp_path / "mine.yaml"
    wrong = "" if eps else "final_norm: {eps: 1e-3}\n"
    spec.write_text(f"family: mine\nextends: qwen2\n{MATCH}{wrong}", "utf-8")
    found = archc("prove", spec, "--json").json
    assert found["ok"] is eps
    steps = {step["name"]: step["ok"] for step in found["steps"]}
    assert set(steps) >= {"slots", "parameters", "torch", "plan", "portable", "cache", "ragged", "graph", "sensitivity"}
    assert (steps["slots"], steps["graph"], steps["plan"]) == (True, True, eps)


@pytest.mark.slow
def test_a_spec_without_a_class(archc: Archc) -> None:
    found = archc("prove", "examples/my-family.yaml", "--json")
    assert found.code == 0, found.out
    assert [(step["name"], step["ok"]) for step in found.json["steps"]] == [
        ("check", True),
        ("reference", None),
        ("graph", True),
        ("cache", True),
    ]


def test_tiny_sizes_and_failures() -> None:
    assert tiny_sizes({"vocab_size": 1000, "head_dim": None, "use_cache": True, "eos_token_id": 2}) == {
        "vocab_size": 151,
        "eos_token_id": None,
    }
    with pytest.raises(CheckError, match="too large"):
        require(False, "too large")


def test_stored_buffers_of_zeros_get_random_numbers() -> None:
    module = torch.nn.Linear(2, 2)
    module.register_buffer("bias_of_choice", torch.zeros(3))
    module.register_buffer("table", torch.ones(3))
    module.register_buffer("computed", torch.zeros(3), persistent=False)
    fill_zero_buffers(module, 1)
    assert [name for name, _ in module.named_parameters()] == ["weight", "bias", "bias_of_choice"]
    assert module.bias_of_choice.unique().numel() == 3
    assert module.table.tolist() == [1.0, 1.0, 1.0]
