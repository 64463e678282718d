"""The versions of tools are the same in constraints.txt, in pre-commit's hooks and in the ranges of pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PINS = {
    canonicalize_name(name): version
    for name, version in re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE)
}


def test_hooks_have_the_versions_of_ci() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"][0]["hooks"]
    pins = [pin.split("==") for hook in hooks for pin in hook.get("additional_dependencies", ())]
    shared = {name: version for name, version in pins if name in PINS}
    assert shared.keys() == {"codespell", "ruff"}
    assert shared == {name: PINS[name] for name in shared}


def test_ranges_allow_the_versions_of_ci() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    requirements = [Requirement(line) for lines in lists for line in lines if not line.startswith("archc-compiler")]
    # CI has no GPU: onnxruntime-gpu has the import name of onnxruntime, and TensorRT is built on the GPU that runs it.
    pinned = [item for item in requirements if canonicalize_name(item.name) in PINS]
    absent = {item.name for item in requirements} - {item.name for item in pinned}
    assert absent == {"onnxruntime-gpu", "tensorrt-cu13"}
    assert not [str(item) for item in pinned if not item.specifier.contains(PINS[canonicalize_name(item.name)])]
