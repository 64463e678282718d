"""A checkpoint seen as slots: every part of a tensor that is read fills one, and shapes and ties must agree."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from archc.archspec import Concat, Normalize, Step, Transpose
from archc.archspec.vocabulary.verbs import Reshape
from archc.archspec.weights.resolve import Resolution, TensorRef
from archc.compiler.build import build
from archc.compiler.errors import BuildError
from archc.compiler.weights import lazy
from archc.compiler.weights.checkpoint import names
from archc.compiler.weights.checkpoint.names import SlotReader
from archc.compiler.weights.checkpoint.safetensors import SafetensorsWeights
from archc.compiler.weights.checkpoint.weights import Place
from tests.reference.gpt_oss import gpt_oss
from tests.reference.yuan2 import Yuan2

EXAMPLE = Path(__file__).parents[4] / "examples" / "tiny-qwen2"
KERNEL = "model.layers.0.self_attn.lf_gate.conv1.weight"
TABLE, HEAD = "model.embed_tokens.weight", "lm_head.weight"


class Tensors:
    """Tensors in memory as a checkpoint has them, with a record of what is read."""

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self.tensors, self.places = tensors, list[Place]()

    def names(self) -> Collection[str]:
        return self.tensors.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.tensors[name].shape)

    def dtype(self, name: str) -> str:
        return "F32"

    def bytes(self, name: str) -> int:
        return self.tensors[name].nbytes

    def check_numbers(self, names: Iterable[str]) -> None:
        assert all(self.tensors[name].is_floating_point() for name in names)

    def read(self, name: str, place: Place = ()) -> torch.Tensor:
        self.places.append(place)
        return self.tensors[name][place] if place else self.tensors[name]


def reader(tensors: Mapping[str, torch.Tensor], source: TensorRef, shape: tuple[int, ...]) -> SlotReader:
    """A model of one slot, made of these tensors."""
    return SlotReader(Tensors(tensors), Resolution({"slot": source}, {}), {"slot": shape})


def tied_checkpoint(folder: Path, head: Callable[[torch.Tensor], torch.Tensor]) -> Path:
    """The example, whose config ties the head to the token table, with a head of its own."""
    shutil.copytree(EXAMPLE, folder)
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, HEAD: head(tensors[TABLE].clone())}, folder / "model.safetensors")
    return folder


def test_a_head_that_equals_the_table_it_is_tied_to_is_not_stored(tmp_path: Path) -> None:
    plain = build(EXAMPLE, out=tmp_path / "plain.plan").read_bytes()
    assert build(tied_checkpoint(tmp_path / "same", torch.clone), out=tmp_path / "p.plan").read_bytes() == plain


@pytest.mark.parametrize("change", [0.5, float("nan")], ids=["another-number", "nan"])
def test_a_head_that_differs_from_the_table_it_is_tied_to(change: float, tmp_path: Path) -> None:
    def last(table: torch.Tensor) -> torch.Tensor:
        table[-1, -1] = change
        return table

    folder = tied_checkpoint(tmp_path / "other", last)
    message = rf"{folder}: '{HEAD}' differs from the tensor of embedding\.tokens\.weight, .*--set head\.tie=false"
    with pytest.raises(BuildError, match=message):
        build(folder, out=tmp_path / "engine.plan")
    build(folder, out=tmp_path / "engine.plan", overrides=["head.tie=false"])


def test_a_shape_is_checked_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(
        BuildError, match=r"slot: the spec expects shape \[3, 2\], but 'a' \[2, 3\] .* becomes \[2, 3\]"
    ):
        reader({"a": torch.ones(2, 3)}, TensorRef(("a",)), (3, 2))
    assert reader({"a": torch.ones(2, 3)}, TensorRef(("a",), (Transpose(),)), (3, 2)).weights.places == []  # type: ignore[attr-defined]


def test_a_step_that_does_not_fit_names_the_tensors() -> None:
    tensors = {"a": torch.ones(2, 3), "b": torch.ones(2, 4)}
    message = r"slot: cannot apply the weight-table steps to 'a' \[2, 3\], 'b' \[2, 4\]: .* cannot be concatenated"
    with pytest.raises(BuildError, match=message):
        reader(tensors, TensorRef(("a", "b"), (Concat(axis=0),)), (4, 3))


@pytest.mark.parametrize(
    ("steps", "shape", "rows"),
    [
        pytest.param((), (50, 4), 10, id="as-stored"),
        pytest.param((Normalize(eps=1e-6),), (50, 4), 10, id="normalized"),
        pytest.param((Transpose(),), (4, 50), 0, id="transposed"),
        pytest.param((Reshape(shape=(25, 8)),), (25, 8), 0, id="reshaped"),
    ],
)
def test_a_large_tensor_is_read_by_rows_if_its_steps_allow_it(
    steps: tuple[Step, ...], shape: tuple[int, ...], rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "_LARGE", 50)
    slots = reader(
        {"a": torch.randn(50, 4, generator=torch.Generator().manual_seed(1))}, TensorRef(("a",), steps), shape
    )
    opened, whole = slots.open("slot"), slots.read("slot")
    slots.weights.places.clear()  # type: ignore[attr-defined]
    assert torch.equal(torch.cat(list(opened.split(10))), whole)
    assert slots.weights.places == [(slice(start, start + 10),) for start in range(0, 5 * rows, 10)]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("axis", "message"),
    [
        (2, r"\[30, 60, 3, 1\] has 3 indices from axis 2 on, and the weight table reads 2"),
        (3, r"\[30, 60, 2, 2\] has 4 indices from axis 2 on, and the weight table reads 2"),
    ],
    ids=["more-taps", "another-axis"],
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
    plain = SafetensorsWeights.read

    def spy(self: SafetensorsWeights, name: str, place: Place = ()) -> torch.Tensor:
        read.append((name, place))
        return plain(self, name, place)

    monkeypatch.setattr(SafetensorsWeights, "read", spy)
    build(tmp_path, out=tmp_path / "engine.plan")
    stacked = [place for name, place in read if ".experts." in name]
    assert set(stacked) == {(expert,) for expert in range(6)}
    assert len(stacked) == 2 * 6 * 6  # layers, experts, and three projections with biases


@pytest.mark.parametrize("quantize", [None, "int8", "int4"], ids=["float32", "int8", "int4"])
def test_large_tensors_are_read_by_rows(quantize: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = build(EXAMPLE, out=tmp_path / "whole.plan", quantize=quantize).read_bytes()
    monkeypatch.setattr(names, "_LARGE", 30_000)
    monkeypatch.setattr(lazy, "BLOCK_BYTES", 10_000)
    monkeypatch.setattr(lazy, "_TRANSPOSED_BYTES", 50_000)
    taken: list[int] = []
    plain = SafetensorsWeights.read

    def spy(self: SafetensorsWeights, name: str, place: Place = ()) -> torch.Tensor:
        value = plain(self, name, place)
        taken.append(value.numel() * value.itemsize)
        return value

    monkeypatch.setattr(SafetensorsWeights, "read", spy)
    assert build(EXAMPLE, out=tmp_path / "rows.plan", quantize=quantize).read_bytes() == whole
    assert max(taken) <= 30_000


def test_a_file_with_more_experts_than_the_config(tmp_path: Path) -> None:
    gpt_oss(1).save(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    name = "model.layers.0.mlp.experts.down_proj"
    tensors[name] = torch.cat((tensors[name], tensors[name][:1]))
    save_file(tensors, file)
    message = r"\[7, 20, 36\] has 7 indices from axis 0 on, and the weight table reads 6"
    with pytest.raises(BuildError, match=f"'{name}' {message}"):
        build(tmp_path, out=tmp_path / "engine.plan")
    tensors[name] = tensors[name][:5].contiguous()
    save_file(tensors, file)
    with pytest.raises(
        BuildError,
        match=r"experts\.5\.down\.weight: cannot apply the weight-table steps to .*: index \[5\] is out of bounds",
    ):
        build(tmp_path, out=tmp_path / "engine.plan")
