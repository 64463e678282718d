"""A checkpoint seen as slots: what is read of a tensor must be all of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from archc.compiler.build import build
from archc.compiler.errors import BuildError
from archc.compiler.weights import lazy
from archc.compiler.weights.checkpoint import names
from archc.compiler.weights.checkpoint.reader import Checkpoint, Place
from tests.reference.gpt_oss import gpt_oss
from tests.reference.yuan2 import Yuan2

KERNEL = "model.layers.0.self_attn.lf_gate.conv1.weight"


@pytest.mark.parametrize(
    ("axis", "message"),
    [
        (2, r"\[30, 60, 3, 1\] has 3 places from axis 2 on, and the weight table reads 2"),
        (3, r"\[30, 60, 2, 2\] has 4 places from axis 2 on, and the weight table reads 2"),
    ],
)
def test_a_place_that_fills_no_slot(axis: int, message: str, tmp_path: Path) -> None:
    Yuan2(1, layers=1).save(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    tensors[KERNEL] = torch.cat((tensors[KERNEL], tensors[KERNEL].narrow(axis, 0, 1)), dim=axis)
    save_file(tensors, file)
    with pytest.raises(BuildError, match=f"'{KERNEL}' {message}"):
        build(tmp_path, out=tmp_path / "engine.plan")


def test_of_stacked_experts_only_a_part_is_read_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = gpt_oss(1)
    reference.save(tmp_path)
    read: list[tuple[str, Place]] = []
    plain = Checkpoint.read

    def spy(self: Checkpoint, name: str, place: Place = ()) -> torch.Tensor:
        read.append((name, place))
        return plain(self, name, place)

    monkeypatch.setattr(Checkpoint, "read", spy)
    build(tmp_path, out=tmp_path / "engine.plan")
    stacked = [place for name, place in read if ".experts." in name]
    assert set(stacked) == {(expert,) for expert in range(6)}
    assert len(stacked) == 2 * 6 * 6  # layers, experts, and three projections with biases


@pytest.mark.parametrize("quantize", [None, "int8", "int4"])
def test_large_tensors_are_read_by_rows(quantize: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = Path(__file__).parents[4] / "examples" / "tiny-qwen2"
    whole = build(example, out=tmp_path / "whole.plan", quantize=quantize).read_bytes()
    monkeypatch.setattr(names, "_LARGE", 30_000)
    monkeypatch.setattr(lazy, "BLOCK_BYTES", 10_000)
    monkeypatch.setattr(lazy, "_TURNED_BYTES", 50_000)
    taken: list[int] = []
    plain = Checkpoint.read

    def spy(self: Checkpoint, name: str, place: Place = ()) -> torch.Tensor:
        value = plain(self, name, place)
        taken.append(value.numel() * value.itemsize)
        return value

    monkeypatch.setattr(Checkpoint, "read", spy)
    assert build(example, out=tmp_path / "rows.plan", quantize=quantize).read_bytes() == whole
    assert max(taken) <= 30_000


def test_a_file_with_more_experts_than_the_config(tmp_path: Path) -> None:
    gpt_oss(1).save(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    name = "model.layers.0.mlp.experts.down_proj"
    tensors[name] = torch.cat((tensors[name], tensors[name][:1]))
    save_file(tensors, file)
    message = r"\[7, 20, 36\] has 7 places from axis 0 on, and the weight table reads 6"
    with pytest.raises(BuildError, match=f"'{name}' {message}"):
        build(tmp_path, out=tmp_path / "engine.plan")
    tensors[name] = tensors[name][:5].contiguous()
    save_file(tensors, file)
    with pytest.raises(
        BuildError, match=r"experts\.5\.down\.weight: .* cannot be cut .* no \[5\] in axes of sizes \[5\]"
    ):
        build(tmp_path, out=tmp_path / "engine.plan")
