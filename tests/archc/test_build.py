"""`archc build` and `archc unpack`."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path

import pytest

from tests.archc.conftest import SMALL, TINY, Archc, sets
from tests.reference.baichuan import Baichuan


def test_one_line_on_stdout_and_the_bytes_before_it(archc: Archc, tmp_path: Path) -> None:
    plan = tmp_path / "engine.plan"
    result = archc("build", "small-lm", "--random", 1, *sets(SMALL), "--max-seq-len", 20, "-o", plan)
    assert result.code == 0, result.err
    size = plan.stat().st_size
    pattern = rf"{re.escape(str(plan))}: {size:,} bytes, ort-cpu, float32, [\d,]+ parameters, [\d.]+ s\n"
    assert re.fullmatch(pattern, result.out)
    assert re.fullmatch(r"archc: writing [\d,]+ bytes of weights to .*engine.plan\n", result.err)
    shown = archc("inspect", plan, "--json").json
    assert shown["limits"]["max_seq_len"] == 20
    assert f"{shown['parameters']:,} parameters" in result.out


def test_a_checkpoint_that_fits_several_specs_names_them(archc: Archc, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    Baichuan(1, "BaichuanForCausalLM", norm_head=True).save(checkpoint)
    result = archc("build", checkpoint, "-o", tmp_path / "engine.plan")
    assert result.code == 2
    (error,) = result.errors
    names = "baichuan-13b, baichuan2-13b, baichuan2"
    assert f"model_type 'baichuan' matches several specs: {names}; pass the name of one of them" in error
    assert archc("build", "baichuan2", "--weights", checkpoint, "-o", tmp_path / "engine.plan").code == 0


def test_onnx_is_a_folder_that_inspect_reads(archc: Archc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = archc("build", "small-lm", "--random", 1, *sets(SMALL), "--target", "onnx")
    assert result.code == 0, result.err
    assert result.out.startswith("engine-onnx: ")
    assert "target onnx" in archc("inspect", "engine-onnx").out
    assert archc("inspect", "engine-onnx", "--check").code == 2
    tokens = archc("run", "engine-onnx", "--ids", "1", "--max-new-tokens", 4)
    assert (tokens.code, tokens.out.count(",")) == (0, 3)


BAD_INPUT: dict[str, tuple[list[str], str]] = {
    "no-weights": (["small-lm"], "no weights"),
    "misspelled-spec-without-weights": (["qwem2"], "spec 'qwem2' not found; did you mean 'qwen2'?"),
    "missing-spec-without-weights": (["./absent.yaml"], "absent.yaml: no such file or folder; give a spec"),
    "two-kinds-of-weights": (
        ["small-lm", "--random", "1", "--weights", str(TINY)],
        "--weights and --random contradict each other",
    ),
    "unknown-spec": (["smal-lm", "--random", "1"], "did you mean 'small-lm'?"),
    "negative-seed": (["small-lm", "--random", "-1"], "--random"),
    "unknown-target": (["small-lm", "--random", "1", "--target", "abacus"], "target 'abacus' is unknown"),
    "unknown-dtype": (["small-lm", "--random", "1", "--dtype", "float8"], "choose float32 or float16"),
    "bad-override": (
        ["small-lm", "--random", "1", "--set", "layer.norm.placement=psot"],
        "did you mean 'post'?",
    ),
    "override-without-value": (["small-lm", "--random", "1", "--set", "nothing"], "expected path=value, got 'nothing'"),
    "unbound-size": (["llama", "--random", "1"], "vocab_size"),
    "unknown-size": (["llama", "--random", "1", "--size", "9t"], "size '9t' not found"),
    "size-and-config": ([str(TINY), "--size", "7b"], "cannot be combined; pass one of them"),
    "no-checkpoint": (["small-lm", "--weights", "nowhere"], "no such folder"),
    "no-output-folder": (["small-lm", "--random", "1", "-o", "nowhere/engine.plan"], "parent folder does not exist"),
    "output-is-a-folder": (["small-lm", "--random", "1", "-o", "."], "expected the name of a file"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input(archc: Archc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    monkeypatch.chdir(tmp_path)
    arguments, message = BAD_INPUT[case]
    small = sets(SMALL) if arguments[0] == "small-lm" else []
    result = archc("build", *arguments, *small)
    assert (result.code, result.out) == (2, "")
    assert any(message in line for line in result.errors), result.err
    assert list(tmp_path.iterdir()) == []


def test_every_problem_is_a_line(archc: Archc) -> None:
    result = archc("build", "small-lm", "--random", 0, "--set", "norms=rms", "--set", "mlp.width=-1", "--set", "x=1")
    assert result.code == 2
    assert len(result.errors) >= 2


def test_a_failed_build_leaves_the_old_plan(archc: Archc, hot: Path, small: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    plan = tmp_path / "engine.plan"
    shutil.copy(small, plan)
    tensors = load_file(hot / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    save_file({**tensors, name: tensors[name].float() * 1e9}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((hot / "config.json").read_bytes())
    result = archc("build", tmp_path, "--dtype", "float16", "-o", plan)
    assert result.code == 2
    assert "build with --dtype float32" in result.errors[-1]
    assert plan.read_bytes() == small.read_bytes()


@pytest.mark.parametrize("target", ["onnx", "onnx-hf"])
def test_run_and_verify_open_the_folders_of_other_runtimes(archc: Archc, tmp_path: Path, target: str) -> None:
    folder = tmp_path / "folder"
    assert archc("build", TINY, "--target", target, "-o", folder).code == 0
    assert archc("run", folder, "37+85=").out == "122\n"
    result = archc("verify", folder, "--weights", TINY, "--prompt", "37+85=")
    assert result.code == 0, result.err
    assert "greedy: 16 new tokens of each prompt equal the reference's" in result.out
    assert f"target {target}" in archc("inspect", folder).out


def test_a_folder_that_archc_did_not_write_is_explained(archc: Archc, tmp_path: Path) -> None:
    for command in (["run", tmp_path, "a"], ["verify", tmp_path, "--weights", TINY]):
        result = archc(*command)
        assert result.code == 2
        assert "a folder of --target onnx or onnx-hf, got a folder without archc.json" in result.errors[0]


def test_help_names_every_target(archc: Archc) -> None:
    from archc.compiler.contract.dtypes import TORCH_DTYPES
    from archc.compiler.targets import TARGETS

    text = archc("build", "--help").out
    assert all(name in text for name in (*TARGETS, *TORCH_DTYPES))


def test_unpack(archc: Archc, small: Path, tmp_path: Path) -> None:
    result = archc("unpack", small, "-o", tmp_path / "out")
    assert result.code == 0, result.err
    with zipfile.ZipFile(small) as plan:
        assert {Path(line) for line in result.out.splitlines()} == {tmp_path / "out" / n for n in plan.namelist()}
        assert (tmp_path / "out" / "weights.bin").read_bytes() == plan.read("weights.bin")
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["family"] == "small-lm"


def test_unpack_refuses(archc: Archc, small: Path, tmp_path: Path) -> None:
    data = bytearray(small.read_bytes())
    data[-5000 - len(data) // 2] ^= 1
    (tmp_path / "bad.plan").write_bytes(data)
    result = archc("unpack", tmp_path / "bad.plan", "-o", tmp_path / "out")
    assert result.code == 2
    assert "SHA-256" in result.errors[0] or "damaged" in result.errors[0]
    (tmp_path / "file").write_text("")
    assert archc("unpack", small, "-o", tmp_path / "file").code == 2
    assert archc("unpack", small).code == 2


def test_an_engine_for_rtx_and_the_same_anew(archc: Archc, tmp_path: Path) -> None:
    plan, again = tmp_path / "engine.plan", tmp_path / "again.plan"
    wanted = ["--target", "tensorrt-rtx", "--compute-capability", "8.9"]
    small = ["d_model=32", "num_heads=2", "d_ff=48", "vocab_size=60", "num_layers=1", "context_length=40"]
    result = archc("build", "small-lm", "--random", 1, *sets(small), *wanted, "--keep-graph", "-o", plan)
    assert result.code == 0, result.err
    assert ", tensorrt-rtx, float16, " in result.out
    assert archc("inspect", plan, "--check").code == 0
    engine = archc("inspect", plan, "--json").json["engine"]
    assert engine["compute_capabilities"] == ["8.9"]
    assert [profile["name"] for profile in engine["profiles"]] == ["prefill", "decode"]
    assert re.search(
        r"^weights: [\d,]+ bytes next to the graph, and again inside engine\.trt", archc("inspect", plan).out, re.M
    )
    result = archc("build", plan, "--target", "tensorrt-rtx", "--max-batch-size", 2, "-o", again)
    assert result.code == 0, result.err
    found = archc("inspect", again, "--json").json
    assert found["engine"]["profiles"][0]["axes"]["batch"] == [1, 1, 2]
    assert (found["weight_bytes"], found["tensors"]) == ({}, [])
    assert found["engine_bytes"] == {"engine.trt": found["entries"]["engine.trt"]["bytes"]}
    text = archc("inspect", again).out
    size = f"{found['engine_bytes']['engine.trt']:,} bytes"
    assert f"\nweights: inside engine.trt of {size}\n" in text
    assert re.search(
        rf"^engine\.trt: {size} by tensorrt_rtx 1\.7\.\S+ for compute capability 8\.6, 8\.9, 12\.0, ", text, re.M
    )
    assert ", weights in float16\n  prefill: " in text
    pairs = [f"past_key_values.0.{part} as present.0.{part}" for part in ("key", "value")]
    assert f"\n  in place: 2 caches of 40 slots: {', '.join(pairs)}\n" in text
    for option in (["--dtype", "float32"], ["--random", "1"], ["--max-seq-len", "8"]):
        result = archc("build", plan, "--target", "tensorrt-rtx", *option, "-o", again)
        assert result.code == 2
        assert "has no effect on a plan, which has its graph and weights; remove it" in result.err


def test_targets_are_listed(archc: Archc) -> None:
    from archc.compiler.targets import TARGETS

    text = archc("list", "--targets").out
    assert all(re.search(rf"^{name} +\S", text, re.MULTILINE) for name in TARGETS)
    listed = archc("list", "--targets", "--json").json["targets"]
    assert [target["name"] for target in listed] == list(TARGETS)
    assert {target["name"] for target in listed if target["engine"]} == {"tensorrt", "tensorrt-rtx"}
