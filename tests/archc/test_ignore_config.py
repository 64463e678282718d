"""`--ignore-config` on every command that reads a checkpoint's config.json."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import archc as package
from tests.archc.conftest import TINY, Archc


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the example's checkpoint with a key that no spec reads."""
    place = tmp_path / "checkpoint"
    shutil.copytree(TINY, place)
    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps({**config, "exporter": {"name": "x"}}))
    return place


def test_the_refusal_names_the_option_and_the_option_helps(archc: Archc, folder: Path, tmp_path: Path) -> None:
    plan = tmp_path / "engine.plan"
    commands = (("check", folder), ("inspect", folder), ("build", folder, "-o", plan))
    for command in commands:
        refused = archc(*command)
        assert refused.code == 2
        assert "exporter: the spec 'qwen2' does not read this key" in refused.errors[0]
        assert "add --ignore-config exporter" in refused.errors[0]
        accepted = archc(*command, "--ignore-config", "exporter")
        assert accepted.code == 0, accepted.err
    assert "transformers" in archc("verify", plan, "--weights", folder, "--ignore-config", "exp*").out.splitlines()[0]
    assert "transformers" not in archc("verify", plan, "--weights", folder).out.splitlines()[0]


def test_the_python_interface(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "engine.plan"
    with pytest.raises(package.ArchspecError, match="--ignore-config exporter"):
        package.build(folder, out=out)
    assert package.build(folder, out=out, ignore_config=["exporter"]) == out


def test_the_option_without_a_config_or_a_key(archc: Archc, folder: Path, qwen: Path) -> None:
    for command in (
        ("check", "llama"),
        ("inspect", "small-lm"),
        ("build", "small-lm", "--random", "0"),
        ("build", qwen),
    ):
        result = archc(*command, "--ignore-config", "exporter")
        assert result.code == 2
        assert "--ignore-config has no effect" in result.errors[0]
    result = archc("build", folder, "--ignore-config", "exporte")
    assert result.code == 2
    assert result.errors[0].endswith("--ignore-config exporte: not a key of config.json; did you mean 'exporter'?")
