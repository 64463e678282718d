"""Builds of any family: reproducible bytes, one trace for each kind of layer, no half-written output."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import archc.compiler.output.writing
import archc.compiler.tracing.stitch
from archc.compiler.build import build
from archc.compiler.errors import BuildError
from archc.compiler.tracing.parts import Part, Piece, trace
from archc.plan.manifest import parse_manifest
from archc.runtime.engine import load
from archc.runtime.errors import PlanError
from tests.reference.small_lm import SmallLm

SIZES = ["d_model=16", "d_ff=20", "num_layers=1", "num_heads=2", "vocab_size=61"]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return small(tmp_path / "checkpoint", layers=2)


def small(folder: Path, layers: int) -> Path:
    SmallLm(1, vocab=61, width=16, layers=layers, heads=2, hidden=20).save(folder)
    return folder


def change(checkpoint: Path, name: str, edit: Callable[[torch.Tensor], torch.Tensor]) -> None:
    file = checkpoint / "model.safetensors"
    tensors = load_file(file)
    tensors[name] = edit(tensors[name].clone())
    save_file(tensors, file)


def with_first(number: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def edit(tensor: torch.Tensor) -> torch.Tensor:
        tensor.view(-1)[0] = number
        return tensor

    return edit


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[list[Part]]:
    calls: list[list[Part]] = []

    def counting(parts: Sequence[Part]) -> list[Piece]:
        calls.append(list(parts))
        return trace(parts)

    monkeypatch.setattr(archc.compiler.tracing.stitch, "trace", counting)
    return calls


def leftovers(folder: Path, *expected: str) -> list[str]:
    return sorted({path.name for path in folder.iterdir()} - {"checkpoint", *expected})


def test_two_builds_give_the_same_bytes(checkpoint: Path, tmp_path: Path) -> None:
    first, second = (build("small-lm", checkpoint, out=tmp_path / name) for name in ("1.plan", "2.plan"))
    assert first.read_bytes() == second.read_bytes()


def test_random_weights_depend_on_the_seed_alone(tmp_path: Path) -> None:
    plans = [
        build("small-lm", random=seed, out=tmp_path / f"{index}.plan", overrides=SIZES).read_bytes()
        for index, seed in enumerate((4, 4, 5))
    ]
    assert plans[0] == plans[1] != plans[2]


def test_layers_of_one_kind_are_traced_once(traced: list[list[Part]], tmp_path: Path) -> None:
    for layers in (1, 9):
        build("small-lm", small(tmp_path / f"checkpoint{layers}", layers), out=tmp_path / f"{layers}.plan")
    shallow, deep = traced
    assert len(shallow) == len(deep)


def test_layers_of_two_kinds_are_traced_twice(traced: list[list[Part]], checkpoint: Path, tmp_path: Path) -> None:
    build("small-lm", checkpoint, out=tmp_path / "one.plan")
    build("small-lm", checkpoint, out=tmp_path / "two.plan", overrides=["attention.window=[none, 4]"])
    one, two = traced
    assert len(two) == len(one) + 1


def test_layers_that_share_weights_compute_as_equal_ones_and_store_them_once(checkpoint: Path, tmp_path: Path) -> None:
    tensors = load_file(checkpoint / "model.safetensors")
    for name in list(tensors):
        if name.startswith("layers.1."):
            tensors[name] = tensors[name.replace("layers.1.", "layers.0.")].clone()
    save_file(tensors, checkpoint / "model.safetensors")
    copies = load(build("small-lm", checkpoint, out=tmp_path / "copies.plan"), threads=1)
    save_file({n: t for n, t in tensors.items() if not n.startswith("layers.1.")}, checkpoint / "model.safetensors")
    shared = load(build("small-lm", checkpoint, out=tmp_path / "shared.plan", overrides=["layer.weights=0"]), threads=1)
    ids = [[5, 9, 3, 17, 60]]
    assert np.array_equal(shared.logits(ids), copies.logits(ids))
    assert shared.generate(ids, 8, ignore_eos=True) == copies.generate(ids, 8, ignore_eos=True)
    one, two = shared.manifest, copies.manifest
    in_a_layer = sum(math.prod(t.shape) for t in two.tensors if t.name.startswith("layers.1."))
    assert two.parameters - one.parameters == in_a_layer > 0
    assert len(one.tensors) == len({t.name for t in two.tensors if not t.name.startswith("layers.1.")})
    assert (one.flops_per_token, one.state) == (two.flops_per_token, two.state)


def test_layers_of_different_sets_of_weights_are_traced_once(
    traced: list[list[Part]], checkpoint: Path, tmp_path: Path
) -> None:
    build("small-lm", checkpoint, out=tmp_path / "own.plan")
    build("small-lm", checkpoint, out=tmp_path / "sets.plan", overrides=["num_layers=6", "layer.weights=layer // 3"])
    own, sets = traced
    assert len(own) == len(sets)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_checkpoint_with_no_numbers_in_it_is_told(checkpoint: Path, tmp_path: Path, number: float) -> None:
    change(checkpoint, "layers.1.swiglu.w2.W", with_first(number))
    told: list[str] = []
    build("small-lm", checkpoint, out=tmp_path / "engine.plan", warn=told.append)
    assert len(told) == 2
    assert "no tokenizer file found" in told[0]
    assert "layers.1.mlp.down.weight" in told[1]


def test_numbers_whose_sum_is_none_are_numbers(checkpoint: Path, tmp_path: Path) -> None:
    change(checkpoint, "layers.1.swiglu.w2.W", lambda tensor: torch.full_like(tensor, 3e38))
    told: list[str] = []
    build("small-lm", checkpoint, out=tmp_path / "engine.plan", warn=told.append)
    (warning,) = told
    assert "no tokenizer file found" in warning


def test_a_weight_too_large_for_float16(checkpoint: Path, tmp_path: Path) -> None:
    change(checkpoint, "layers.1.swiglu.w2.W", with_first(1e5))
    with pytest.raises(BuildError, match=r"layers\.1\.mlp\.down\.weight.*100000.*float16.*float32"):
        build("small-lm", checkpoint, out=tmp_path / "engine.plan", dtype="float16")
    assert leftovers(tmp_path) == []
    build("small-lm", checkpoint, out=tmp_path / "engine.plan", dtype="float32")


def test_a_shape_that_the_config_does_not_give(checkpoint: Path, tmp_path: Path) -> None:
    change(checkpoint, "ln_out.W", lambda tensor: tensor[:-1])
    with pytest.raises(BuildError, match=r"head\.weight.*\[61, 16\].*ln_out\.W.*\[60, 16\]"):
        build("small-lm", checkpoint, out=tmp_path / "engine.plan")


@pytest.mark.parametrize("target", ["ort-cpu", "onnx"])
def test_a_disk_that_fills_up_keeps_what_was_there(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    out = tmp_path / "result"
    build("small-lm", checkpoint, out=out, target=target)
    before = content(out)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archc.compiler.output.writing, "stream_weights", full)
    with pytest.raises((BuildError, PlanError), match=r"No space left|disk is full"):
        build("small-lm", checkpoint, out=out, target=target)
    assert content(out) == before
    assert leftovers(tmp_path, "result") == []


def content(path: Path) -> dict[str, bytes]:
    """Return the bytes of a file, or of every file in a folder, by relative name."""
    if path.is_file():
        return {path.name: path.read_bytes()}
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_too_small_a_disk_is_told_before_anything_is_written(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=10, used=9, free=1))
    with pytest.raises(BuildError, match="1 are free"):
        build("small-lm", checkpoint, out=tmp_path / "engine.plan")
    assert leftovers(tmp_path) == []


def test_a_folder_that_does_not_exist(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="does not exist"):
        build("small-lm", checkpoint, out=tmp_path / "nowhere" / "engine.plan")


def test_an_onnx_folder_replaces_an_older_export(checkpoint: Path, tmp_path: Path) -> None:
    out = build("small-lm", random=1, overrides=SIZES, out=tmp_path / "result", target="onnx")
    before = content(out)
    build("small-lm", checkpoint, out=out, target="onnx")
    assert content(out).keys() == before.keys() == {"archc.json", "model.onnx", "weights.bin"}
    assert all(content(out)[name] != before[name] for name in ("archc.json", "weights.bin"))
    assert leftovers(tmp_path, "result") == []


def test_a_file_of_the_users_in_an_onnx_folder_keeps_all_of_it(checkpoint: Path, tmp_path: Path) -> None:
    out = build("small-lm", checkpoint, out=tmp_path / "result", target="onnx")
    (out / "notes").mkdir()
    (out / "notes" / "mine.txt").write_text("mine", "utf-8")
    (out / "tokenizer.json").write_text("mine too: this export has no tokenizer", "utf-8")
    before = content(out)
    with pytest.raises(BuildError, match=r"archc did not write \(notes/mine\.txt, tokenizer\.json\); move them away"):
        build("small-lm", checkpoint, out=out, target="onnx")
    assert content(out) == before
    assert leftovers(tmp_path, "result") == []


def test_an_onnx_folder_lists_its_files(checkpoint: Path, tmp_path: Path) -> None:
    out = build("small-lm", checkpoint, out=tmp_path / "result", target="onnx")
    manifest = parse_manifest((out / "archc.json").read_bytes(), "result")
    assert {name: (entry.bytes, entry.sha256) for name, entry in manifest.entries.items()} == {
        name: (len(data), hashlib.sha256(data).hexdigest())
        for name, data in content(out).items()
        if name != "archc.json"
    }


def test_a_tokenizer_from_elsewhere_is_in_the_plan(checkpoint: Path, tmp_path: Path) -> None:
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\nhello\nworld\n")
    warnings: list[str] = []
    path = build("small-lm", checkpoint, out=tmp_path / "x.plan", tokenizer=vocabulary, warn=warnings.append)
    assert not warnings
    tokenizer = load(path).tokenizer
    assert tokenizer is not None
    assert tokenizer.encode("Hello world") == [2, 4, 5, 3]
