"""The same weights under the config spellings of both generations give the same plan."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from compiler.build import build
from tests.families.collection import cases_of


def older(config: dict[str, Any]) -> dict[str, Any]:
    """rope_parameters as files before transformers 5 have it."""
    config = dict(config)
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = None if rope["rope_type"] == "default" else {"type": rope.pop("rope_type"), **rope}
    return config


def entries(plan: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(plan) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize("name", ["grouped", "linear", "dynamic", "llama3", "yarn", "yarn-factor"])
def test_older_and_newer_config_give_equal_plans(name: str, tmp_path: Path) -> None:
    case = next(case for case in cases_of("llama") if case.name == name)
    checkpoint = tmp_path / "checkpoint"
    case.make().save(checkpoint)
    newer = build(checkpoint, out=tmp_path / "newer.plan")
    file = checkpoint / "config.json"
    config = json.loads(file.read_text("utf-8"))
    assert "rope_parameters" in config
    file.write_text(json.dumps(older(config)), "utf-8")
    assert entries(build(checkpoint, out=tmp_path / "older.plan")) == entries(newer)
