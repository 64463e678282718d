"""`archc verify` of float32 and float16 plans: right, wrong, of another checkpoint, and with an overflow."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.archc.conftest import TINY, Archc


def changed(plan: Path, out: Path) -> Path:
    """Return a copy of a plan with one of its weights doubled."""
    from archc.plan import Plan

    with Plan(plan) as opened:
        tensor = next(t for t in opened.manifest.tensors if t.name == "layers.1.mixer_norm.weight")
        start = opened.offset("weights.bin") + tensor.offset
    data = bytearray(plan.read_bytes())
    data[start + 3] ^= 0x01  # of the first number's exponent
    out.write_bytes(data)
    return out


def test_against_transformers(archc: Archc, qwen: Path) -> None:
    result = archc("verify", qwen, "--weights", TINY)
    assert result.code == 0, result.err
    first, tolerance, prompts, logits, greedy, last = result.out.splitlines()
    assert first.startswith("reference: transformers ")
    assert "Qwen2ForCausalLM in float32" in first
    assert tolerance == "tolerance: 0.0001 (float32)"
    assert prompts == "prompts: 3, of 1, 7, 16 tokens"
    assert logits.startswith("logits: largest difference ")
    assert greedy == "greedy: 16 new tokens of each prompt equal the reference's"
    assert last == "ok"


def test_json_on_given_prompts(archc: Archc, qwen: Path) -> None:
    result = archc("verify", qwen, "--weights", TINY, "--prompt", "Once", "--ids", "1,2", "--new-tokens", 2, "--json")
    found = result.json
    assert set(found) == {
        "ok",
        "reference",
        "tolerance",
        "notes",
        "weights",
        "graph_reference",
        "graph_differences",
        "prompts",
        "differences",
        "new_tokens",
        "divergences",
        "not_finite",
    }
    assert found["ok"] is True
    assert (found["weights"], found["graph_reference"], found["graph_differences"]) == (None, None, [])
    assert [1, 2] in found["prompts"]
    assert len(found["prompts"]) == 2
    assert found["new_tokens"] == 2
    assert found["differences"][0]["largest"] < 1e-4


def test_a_changed_plan_fails(archc: Archc, qwen: Path, tmp_path: Path) -> None:
    result = archc("verify", changed(qwen, tmp_path / "changed.plan"), "--weights", TINY)
    assert result.code == 1
    assert "past 0.0001" in result.out
    assert result.out.endswith("FAILED\n")
    assert result.err == ""


def test_the_first_greedy_token_that_differs() -> None:
    from archc.verify.differences import find_divergence

    class Fixed:
        name = "fixed"

        def outputs(self, ids: list[int], answer: list[int] | None = None) -> dict[str, np.ndarray]:
            return {"logits": np.array([[0.0, 3.0, 1.0], [5.0, 0.0, 4.9], [0.0, 0.0, 1.0]], np.float32)[: len(ids)]}

    assert find_divergence(0, Fixed(), [7], [1, 0, 2], 1e-4) is None
    wrong = find_divergence(4, Fixed(), [7], [1, 2, 2], 1e-4)
    assert wrong is not None
    assert (wrong.prompt, wrong.token, wrong.plan, wrong.reference, wrong.is_tie) == (4, 1, 2, 0, False)
    tie = find_divergence(0, Fixed(), [7], [1, 2, 2], 0.06)
    assert tie is not None
    assert tie.is_tie


def test_tolerance_decides(archc: Archc, qwen: Path) -> None:
    result = archc("verify", qwen, "--weights", TINY, "--tolerance", 0, "--json")
    assert result.code == 1
    assert result.json["ok"] is False
    assert result.json["tolerance"] == "0, as requested"
    assert archc("verify", qwen, "--weights", TINY, "--tolerance", "nan").code == 2


def test_an_ablation_has_no_class_to_compare_with(archc: Archc, tmp_path: Path) -> None:
    plan = tmp_path / "engine.plan"
    assert archc("build", TINY, "--set", "position=none", "-o", plan).code == 0
    result = archc("verify", plan, "--weights", TINY, "--new-tokens", 2)
    assert result.code == 0, result.out
    assert result.out.startswith("reference: archc's torch graph in float32")
    assert "the plan differs from the checkpoint's config" in result.err


def test_a_class_that_transformers_lacks(archc: Archc, qwen: Path, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(TINY, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"architectures": ["NobodysModel"], "auto_map": {"AutoModelForCausalLM": "modeling.Evil"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "modeling.py").write_text("raise SystemExit('the code of a checkpoint was run')")
    result = archc("verify", qwen, "--weights", folder, "--new-tokens", 2)
    assert result.code == 0, result.err
    assert result.out.startswith("reference: archc's torch graph")


def test_encoder(archc: Archc, tmp_path: Path) -> None:
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=60,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=40,
    )
    BertModel(config).save_pretrained(tmp_path / "bert")
    assert archc("build", tmp_path / "bert", "-o", tmp_path / "engine.plan").code == 0
    result = archc("verify", tmp_path / "engine.plan", "--weights", tmp_path / "bert", "--json")
    assert result.code == 0, result.out
    assert "BertModel" in result.json["reference"]
    assert {item["output"] for item in result.json["differences"]} == {"hidden_states", "pooled"}
    refused = archc("verify", tmp_path / "engine.plan", "--weights", tmp_path / "bert", "--new-tokens", 3)
    assert refused.code == 2
    assert "--new-tokens has no effect" in refused.errors[0]


def test_a_folder_of_sentence_transformers_with_a_dense_module(archc: Archc, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize

    from tests.compiler.weights.checkpoint.test_sentence_modules import write_dense

    write_dense(tmp_path, Dense(32, 20), Normalize())
    folder, plan = tmp_path / "sentences", tmp_path / "engine.plan"
    assert archc("build", folder, "-o", plan).code == 0
    result = archc("verify", plan, "--weights", folder, "--json")
    assert result.code == 0, result.out
    assert {item["output"] for item in result.json["differences"]} == {"hidden_states", "pooled"}
    assert "(by modules.json, --set, or --size), so BertModel of transformers is not a reference" in result.err
    file = folder / "2_Dense" / "model.safetensors"
    save_file({name: tensor.flip(0) for name, tensor in load_file(file).items()}, file)
    assert archc("verify", plan, "--weights", folder).code == 1


def test_float16_is_judged_by_the_largest_logit(archc: Archc, tmp_path: Path) -> None:
    assert archc("build", TINY, "--dtype", "float16", "-o", tmp_path / "half.plan").code == 0
    result = archc("verify", tmp_path / "half.plan", "--weights", TINY, "--json")
    assert result.code == 0, result.out
    assert result.json["differences"][0]["allowed"] > 0.1


def test_float16_that_overflows_is_named(archc: Archc, hot: Path, tmp_path: Path) -> None:
    assert archc("build", hot, "--dtype", "float16", "-o", tmp_path / "half.plan").code == 0
    text = archc("verify", tmp_path / "half.plan", "--weights", hot)
    assert text.code == 1
    assert "not finite: the " in text.out
    assert "layers.1.mlp" in text.out
    result = archc("verify", tmp_path / "half.plan", "--weights", hot, "--json").json
    assert result["ok"] is False
    assert "float16" in result["not_finite"]


BAD_ARGUMENTS: dict[str, tuple[list[object], str]] = {
    "no-weights": ([], "--weights"),
    "no-such-folder": (["--weights", "nowhere"], "no such folder"),
    "folder-without-a-checkpoint": (["--weights", TINY.parent], "model.safetensors.index.json not found"),
    "word-for-an-id": (["--weights", TINY, "--ids", "1,x"], "is not a token id"),
    "text-without-a-tokenizer": (["--weights", TINY, "--prompt", "a"], "this plan has no tokenizer"),
    "no-new-tokens": (["--weights", TINY, "--new-tokens", 0], "--new-tokens"),
    "prompt-fills-the-plan": (["--weights", TINY, "--ids", ",".join(["1"] * 40)], "leaves no room"),
}


@pytest.mark.parametrize("case", BAD_ARGUMENTS)
def test_bad_arguments(archc: Archc, small: Path, case: str) -> None:
    arguments, message = BAD_ARGUMENTS[case]
    result = archc("verify", small, *arguments)
    assert result.code == 2
    assert message in result.errors[0]


def test_another_models_checkpoint(archc: Archc, small: Path) -> None:
    result = archc("verify", small, "--weights", TINY, "--json")
    assert result.code == 2
    assert result.json["error"]
