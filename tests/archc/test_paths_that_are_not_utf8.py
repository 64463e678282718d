"""Paths with bytes that are not UTF-8 (surrogates in Python): a clear error and exit code 2, or the same result."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from archc.archspec import find_spec
from tests.archc.conftest import TINY, Archc


def test_a_plan_a_checkpoint_and_a_spec(archc: Archc, qwen: Path, tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    shutil.copy(qwen, odd.with_suffix(".plan"))
    shutil.copytree(TINY, odd)
    shutil.copy(find_spec("llama"), odd.with_suffix(".yaml"))
    assert archc("check", odd.with_suffix(".yaml")).code == 0
    for command in (
        ("run", odd.with_suffix(".plan"), "--ids", "1,2"),
        ("verify", odd.with_suffix(".plan"), "--weights", TINY),
        ("build", odd, "-o", tmp_path / "engine.plan"),
        ("inspect", odd),
        ("run", odd / "missing.plan", "--ids", "1,2"),
        ("check", odd / "missing.yaml"),
    ):
        result = archc(*command)
        assert result.code == 2, (command, result)
        assert len(result.errors) == 1, result.err
        assert "fault of archc" not in result.err
