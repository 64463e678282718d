"""Leftovers of writers that were killed: none, or removed by the next build to the same place."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from archc.plan import Plan, PlanWriter, writer
from tests.archc.killed_writes import WRITERS, write_plan


def test_a_plan_has_no_name_until_it_is_whole(small: Path, tmp_path: Path) -> None:
    with Plan(small) as plan, PlanWriter(tmp_path / "engine.plan") as target:
        for name in plan.names:
            if name != "manifest.json":
                target.add(name, plan.read(name))
        assert list(tmp_path.iterdir()) == []
        target.finish(plan.manifest)
    assert [path.name for path in tmp_path.iterdir()] == ["engine.plan"]


def test_leftovers_of_a_living_writer_stay(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_open_unnamed", lambda _: None)
    dead = tmp_path / ".engine.plan.0123456789ab.tmp"
    other = tmp_path / ".other.plan.0123456789ab.tmp"
    for path in (dead, other):
        path.write_bytes(b"left")
    with PlanWriter(tmp_path / "engine.plan") as target:
        assert not dead.exists()
        (living,) = set(tmp_path.iterdir()) - {other}
        write_plan(small, tmp_path / "engine.plan")
        assert living.exists()
        with Plan(small) as plan:
            for name in plan.names:
                if name != "manifest.json":
                    target.add(name, plan.read(name))
            target.finish(plan.manifest)
    assert sorted(path.name for path in tmp_path.iterdir()) == [other.name, "engine.plan"]


def test_files_that_archc_did_not_write_stay_in_a_leftover(small: Path, tmp_path: Path) -> None:
    out, hidden = tmp_path / "out", tmp_path / ".out.0123456789ab.tmp"
    WRITERS["onnx-folder"](small, hidden)
    (hidden / "mine.txt").write_text("mine")
    WRITERS["onnx-folder"](small, out)
    assert (hidden / "mine.txt").read_text() == "mine"
    (hidden / "mine.txt").unlink()
    WRITERS["onnx-folder"](small, out)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("case", WRITERS)
def test_a_killed_writer_leaves_the_old_or_the_new_output_whole(
    small: Path, qwen: Path, tmp_path: Path, case: str
) -> None:
    arguments = [sys.executable, "-m", "tests.archc.killed_writes", case, tmp_path, small, qwen]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    assert "'old': " in done.stdout
    assert "'new': " in done.stdout
