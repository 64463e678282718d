"""The distribution: the wheel installs one package with every room, and its runtime needs no extra."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
ROOMS = ("archspec", "compiler", "plan", "runtime", "specs")
FILES = ("LICENSE", "README.md", "pyproject.toml")
NAME = "archc-compiler"


def built(source: Path, out: Path, kind: str) -> Path:
    """Build the "sdist" or the "wheel" of a source folder, without an index."""
    code = f"import sys; from setuptools import build_meta; build_meta.build_{kind}(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(out)], cwd=source, check=True, capture_output=True)
    (path,) = out.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return path


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository's package, because a build writes into its source folder."""
    folder = tmp_path_factory.mktemp("source")
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    for name in ("archc", *ROOMS):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(source, tmp_path_factory.mktemp("wheel"), "wheel")


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_installs_one_package_with_every_file_of_every_room(wheel: Path) -> None:
    names = set(contents(wheel))
    packaged = {name for name in names if not name.partition("/")[0].endswith(".dist-info")}
    assert {name.partition("/")[0] for name in packaged} == {"archc"}
    own = {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "archc").rglob("*.py") if "__pycache__" not in str(path)
    }
    rooms = {
        f"archc/{path.relative_to(ROOT).as_posix()}"
        for room in ROOMS
        for path in (ROOT / room).rglob("*.yaml" if room == "specs" else "*.py")
    }
    assert all(any(name.startswith(f"archc/{room}/") for name in rooms) for room in ROOMS)
    assert packaged == own | rooms | {"archc/py.typed", "archc/serve/page/index.html"}


def test_the_source_distribution_builds_the_same_wheel(source: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(built(source, tmp_path, "sdist")) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = (path for path in tmp_path.iterdir() if path.is_dir())
    (tmp_path / "out").mkdir()
    assert contents(built(unpacked, tmp_path / "out", "wheel")) == contents(wheel)


def required(wheel: Path) -> list[metadata.Distribution]:
    """Return the installed distributions that the wheel needs without an extra, and those that they need."""
    (text,) = (data for name, data in contents(wheel).items() if name.endswith(".dist-info/METADATA"))
    stack = message_from_bytes(text).get_all("Requires-Dist", [])
    found: dict[str, metadata.Distribution] = {}
    while stack:
        requirement = Requirement(stack.pop())
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        if requirement.name not in found:
            found[requirement.name] = metadata.distribution(requirement.name)
            stack += found[requirement.name].requires or []
    return list(found.values())


@pytest.fixture
def python(wheel: Path, tmp_path: Path) -> Path:
    """The interpreter of a new virtual environment with the wheel and its dependencies, and nothing else."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    interpreter = tmp_path / "venv" / "bin" / "python"
    (packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    for distribution in required(wheel):
        for file in distribution.files or ():
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not (packages / top).exists():
                (packages / top).symlink_to(Path(str(distribution.locate_file(top))))
    return interpreter


PROGRAM = """
import importlib.util, json, pathlib, sys
import archc, archc.runtime, archc.plan
from archc.cli.app import main
packages = "torch", "onnx_ir", "onnxruntime", "pydantic", "typer"
absent = [name for name in packages if not importlib.util.find_spec(name)]
print(json.dumps({
    "folder": str(pathlib.Path(archc.__file__).parent), "version": archc.__version__, "load": archc.load.__module__,
    "engine": archc.Engine.__name__, "absent": absent, "code": main(["list"]),
}))
"""


def test_the_runtime_is_imported_without_an_extra(python: Path, tmp_path: Path) -> None:
    run = subprocess.run([python, "-I", "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, check=True)
    result = json.loads(run.stdout)
    assert Path(result.pop("folder")).is_relative_to(tmp_path / "venv")
    assert result == {
        "version": metadata.version(NAME),
        "load": "archc.runtime.engine",
        "engine": "Engine",
        "absent": ["torch", "onnx_ir", "onnxruntime", "pydantic", "typer"],
        "code": 2,
    }
    assert run.stderr.startswith("archc: error: ")
    assert '; from a clone of the repository: pip install ".[cli]" ' in run.stderr
