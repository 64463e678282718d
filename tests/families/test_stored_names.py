"""Checkpoints under other names: a shared tensor by another of its names, and prefixes that savers add or leave out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from archc.archspec import BoundSpec, load_spec
from archc.compiler.build import bind
from archc.compiler.modules.model import Model, meta_model
from archc.compiler.weights.checkpoint.containers import open_weights
from archc.compiler.weights.checkpoint.folder import read_folder_config
from archc.compiler.weights.checkpoint.names import map_checkpoint, tied_slots
from archc.compiler.weights.slots import slot_shapes
from archc.proof.case import Case
from tests.families.collection import all_cases, cases_of
from tests.families.covering import covering

FIRST: dict[str, Case] = {}
for _family, _case in all_cases():
    FIRST.setdefault(_family, _case)
# Names are resolved alike for all families: those without a word of their own are slow.
SLOW = {name: () if name in covering() else (pytest.mark.slow,) for name in FIRST}
every_family = pytest.mark.parametrize("family", [pytest.param(name, marks=SLOW[name]) for name in FIRST])
tying_family = pytest.mark.parametrize(
    "family", [pytest.param(name, marks=SLOW[name]) for name in FIRST if " tie" in load_spec(name).text]
)


def saved(family: str, case: Case, folder: Path) -> tuple[BoundSpec, Model]:
    """Save a case's checkpoint as one file; return its bound spec and its model without weights."""
    case.make().save(folder)
    bound = bind(case.spec or family, read_folder_config(folder), None, ())
    return bound, meta_model(bound)


def respell(folder: Path, change: Callable[[str], str]) -> None:
    """Change every tensor's name in a checkpoint."""
    files = list(folder.glob("*.safetensors"))
    tensors = {name: tensor for file in files for name, tensor in load_file(file).items()}
    for file in (*files, *folder.glob("*.index.json")):
        file.unlink()
    save_file({change(name): tensor for name, tensor in tensors.items()}, folder / "model.safetensors")


def read(bound: BoundSpec, model: Model, folder: Path) -> dict[str, Tensor]:
    """Return every slot's tensor."""
    reader = map_checkpoint(bound, model, open_weights(folder), folder)
    return {slot: reader.read(slot) for slot in slot_shapes(model)}


def assert_equal(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    assert all(torch.equal(first[slot], second[slot]) for slot in first)


@every_family
def test_prefixes_before_every_name_are_taken_off(family: str, tmp_path: Path) -> None:
    bound, model = saved(family, FIRST[family], tmp_path)
    before = read(bound, model, tmp_path)
    for prefix in ("module.", "_orig_mod.", "base_model.model.", "module._orig_mod."):
        respell(tmp_path, lambda name, prefix=prefix: prefix + name)  # type: ignore[misc]
        assert_equal(read(bound, model, tmp_path), before)
        respell(tmp_path, lambda name, prefix=prefix: name.removeprefix(prefix))  # type: ignore[misc]


@every_family
def test_names_without_the_prefix_of_the_base_model(family: str, tmp_path: Path) -> None:
    bound, model = saved(family, FIRST[family], tmp_path)
    before = read(bound, model, tmp_path)
    found = bound.weights.find("embedding.tokens.weight") or bound.weights.find("embedding.tokens")
    assert found
    tokens = next(name for name in open_weights(tmp_path).names() if name.endswith(tuple(found[0][-1])))
    base = tokens.partition(".")[0] + "." if tokens.count(".") > 1 else ""
    respell(tmp_path, lambda name: name.removeprefix(base))
    assert_equal(read(bound, model, tmp_path), before)


@tying_family
def test_a_shared_tensor_under_each_of_its_names(family: str, tmp_path: Path) -> None:
    for case in cases_of(family):
        bound, model = saved(family, case, tmp_path / case.name)
        ties = tied_slots(model)
        before = read(bound, model, tmp_path / case.name)
        for slot, target in ties.items():
            other = bound.weights.find(slot)
            if not other:
                continue
            names = open_weights(tmp_path / case.name).names()
            (stored,) = bound.weights.resolve(slot_shapes(model), names, ties=ties).sources[target].names
            respell(tmp_path / case.name, lambda name, old=stored, new=other[0][-1][0]: new if name == old else name)  # type: ignore[misc]
            assert_equal(read(bound, model, tmp_path / case.name), before)
            break
