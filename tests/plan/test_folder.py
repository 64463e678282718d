"""ONNX folders that are read like plans, and what is refused in them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from archc.compiler.build import build
from archc.plan import Plan, PlanError
from archc.plan.folder import FolderPlan, open_plan

TINY = Path(__file__).parents[2] / "examples" / "tiny-qwen2"


@pytest.fixture(params=["onnx", "onnx-hf"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return build(TINY, out=tmp_path / "made", target=request.param)


def test_a_folder_has_the_entries_of_a_plan(folder: Path, tmp_path: Path) -> None:
    plan = build(TINY, out=tmp_path / "engine.plan")
    with open_plan(plan) as own, open_plan(folder) as opened:
        assert isinstance(own, Plan)
        assert isinstance(opened, FolderPlan)
        assert set(opened.names) >= set(own.names) - {"manifest.json", "packed.onnx"}
        assert opened.read("tokenizer/tokenizer.json") == own.read("tokenizer/tokenizer.json")
        assert opened.manifest.tokens == own.manifest.tokens
        opened.verify_hashes()
        assert opened.weights == (folder / "weights.bin", 0)


def test_a_folder_of_links_opens(folder: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.mkdir()
    for path in folder.iterdir():
        (linked / path.name).symlink_to(path)
    with open_plan(linked) as opened:
        opened.verify_hashes()
        assert opened.weights == (folder / "weights.bin", 0)


def test_damage_is_found_by_hashes(folder: Path) -> None:
    data = bytearray((folder / "weights.bin").read_bytes())
    data[100] ^= 1
    (folder / "weights.bin").write_bytes(data)
    with open_plan(folder) as opened, pytest.raises(PlanError, match=r"weights\.bin is damaged"):
        opened.verify_hashes()


def test_pipes_are_refused(folder: Path, tmp_path: Path) -> None:
    for path in (folder / "weights.bin", folder / "archc.json", tmp_path / "engine.plan"):
        path.unlink(missing_ok=True)
        os.mkfifo(path)
        with pytest.raises(PlanError, match=rf"{path.name}: expected a file, got a pipe or a device; give the path"):
            open_plan(path if path.parent == tmp_path else folder)


def rename(manifest: dict[str, Any], name: str) -> None:
    manifest["entries"][name] = manifest["entries"].pop("tokenizer.json")


FAULTS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "other-target": (lambda manifest: manifest.update(target="ort-cpu"), "expected target onnx or onnx-hf, got 'ort-"),
    "path-out-of-the-folder": (lambda manifest: rename(manifest, "../tokenizer.json"), "leads out of its folder"),
    "missing-file": (lambda manifest: rename(manifest, "none.json"), r"none\.json.*cannot be opened"),
    "no-weights": (lambda manifest: manifest["entries"].pop("weights.bin"), r"lists no weights\.bin"),
    "no-graph": (lambda manifest: manifest["entries"].pop("model.onnx"), r"entry 'model\.onnx' not found"),
    "other-size": (lambda manifest: manifest["entries"]["model.onnx"].update(bytes=7), "expected 7 bytes as in"),
    "unknown-key": (lambda manifest: manifest.update(more=1), "build the plan again with this archc"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_folder_that_deviates_from_its_manifest_is_refused(folder: Path, fault: str) -> None:
    edit, message = FAULTS[fault]
    manifest = json.loads((folder / "archc.json").read_bytes())
    edit(manifest)
    (folder / "archc.json").write_text(json.dumps(manifest))
    with pytest.raises(PlanError, match=message):
        open_plan(folder)
