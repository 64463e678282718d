"""Outputs: paths that a build or `unpack` may replace, and those that it refuses before any work."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import archc as api
from archc.plan import PlanWriter, replacing, writer
from tests.archc.conftest import SMALL, TINY, Archc, sets

RANDOM = ["small-lm", "--random", "1", *sets(SMALL)]
Snapshot = dict[str, tuple[int, int, bytes | str]]


def snapshot(folder: Path) -> Snapshot:
    """Return everything under a folder by relative name: inode, kind, and bytes or link target."""
    found: Snapshot = {}
    for path in sorted(folder.rglob("*")):
        entry = path.lstat()
        kind = stat.S_IFMT(entry.st_mode)
        data = path.read_bytes() if kind == stat.S_IFREG else str(path.readlink()) if kind == stat.S_IFLNK else ""
        found[str(path.relative_to(folder))] = (entry.st_ino, kind, data)
    return found


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a user's folder: `work`, the working directory; `CK`, a checkpoint with a foreign export; notes."""
    home = tmp_path / "home"
    shutil.copytree(TINY, home / "CK")
    (home / "CK" / "model.onnx").write_bytes(b"of another exporter")
    (home / "notes.txt").write_text("mine")
    (home / "work").mkdir()
    monkeypatch.chdir(home / "work")
    return home


def link(home: Path, name: str, to: str) -> None:
    (home / name).symlink_to(to)


def add_socket(home: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(home / "socket"))


def add_device(home: Path) -> None:
    """Add a null device, because a fault must not replace the machine's; without permission, a link to that."""
    if os.geteuid() == 0:
        os.mknod(home / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    else:
        link(home, "null", "/dev/null")


def add_archive(home: Path) -> None:
    import zipfile

    with zipfile.ZipFile(home / "photos.zip", "w") as archive:
        archive.writestr("manifest.json", "{}")


NOT_A_PLAN = "is not an archc plan"
REFUSED_FILES: dict[str, tuple[str, str, Callable[[Path], object]]] = {
    "checkpoint-weights": ("../CK/model.safetensors", NOT_A_PLAN, lambda home: None),
    "checkpoint-config": ("../work/../CK/config.json", NOT_A_PLAN, lambda home: None),
    "tokenizer": ("../CK/tokenizer.json", NOT_A_PLAN, lambda home: None),
    "hard-link-to-weights": (
        "../out.plan",
        NOT_A_PLAN,
        lambda home: (home / "out.plan").hardlink_to(home / "CK/model.safetensors"),
    ),
    "link-to-weights": (
        "../out.plan",
        "is a symbolic link",
        lambda home: link(home, "out.plan", "CK/model.safetensors"),
    ),
    "broken-link": ("../out.plan", "is a symbolic link", lambda home: link(home, "out.plan", "nowhere")),
    "notes": ("../notes.txt", NOT_A_PLAN, lambda home: None),
    "empty-file": ("../empty", NOT_A_PLAN, lambda home: (home / "empty").touch()),
    "other-archive": ("../photos.zip", NOT_A_PLAN, add_archive),
    "device": ("../null", "is a", add_device),
    "pipe": ("../pipe", "is a device, pipe or socket", lambda home: os.mkfifo(home / "pipe")),
    "socket": ("../socket", "is a device, pipe or socket", add_socket),
    "folder": ("../CK", "a folder of that name exists", lambda home: None),
    "parent": ("..", "expected the name of a file", lambda home: None),
    "working-directory": (".", "expected the name of a file", lambda home: None),
    "root": ("/", "expected the name of a file", lambda home: None),
    "no-folder": ("nowhere/engine.plan", "its parent folder does not exist", lambda home: None),
}


@pytest.mark.parametrize("case", REFUSED_FILES)
def test_a_plan_never_replaces_what_is_not_a_plan(archc: Archc, home: Path, case: str) -> None:
    out, message, prepare = REFUSED_FILES[case]
    prepare(home)
    before = snapshot(home)
    result = archc("build", home / "CK", "-o", out)
    assert (result.code, result.out) == (2, "")
    assert len(result.errors) == 1
    assert message in result.errors[0]
    assert snapshot(home) == before


def test_a_plan_never_replaces_its_own_spec(archc: Archc, home: Path) -> None:
    (home / "mine.yaml").write_text("family: mine\nextends: small-lm\n")
    (home / "mine.plan").hardlink_to(home / "mine.yaml")
    before = snapshot(home)
    for out in ("../mine.yaml", "../mine.plan"):
        result = archc("build", "../mine.yaml", *RANDOM[1:], "-o", out)
        assert (result.code, result.out) == (2, "")
        assert f"{out}: is an input of this command" in result.errors[0]
    assert snapshot(home) == before


def link_to_an_empty_folder(home: Path) -> None:
    (home / "empty").mkdir()
    link(home, "out", "empty")


REFUSED_FOLDERS: dict[str, tuple[str, str, Callable[[Path], object]]] = {
    "checkpoint-with-a-foreign-export": ("../CK", "contains ../CK, an input of this command", lambda home: None),
    "above-the-checkpoint": ("../../home", "contains the working directory", lambda home: None),
    "copy-of-the-checkpoint": (
        "../copy",
        "was not written by archc",
        lambda home: shutil.copytree(home / "CK", home / "copy"),
    ),
    "foreign-manifest": (
        "../page",
        "was not written by archc",
        lambda home: ((home / "page").mkdir(), (home / "page/manifest.json").write_text('{"name": "page"}')),
    ),
    "notes": ("../notes.txt", "is not a folder", lambda home: None),
    "link-to-a-folder": ("../out", "is a symbolic link", link_to_an_empty_folder),
    "pipe": ("../pipe", "is not a folder", lambda home: os.mkfifo(home / "pipe")),
    "parent": ("..", "expected the name of a folder", lambda home: None),
    "parent-by-name": ("../../home/work/..", "expected the name of a folder", lambda home: None),
    "working-directory": (".", "expected the name of a folder", lambda home: None),
    "working-directory-by-name": ("../work", "contains the working directory", lambda home: None),
    "root": ("/", "expected the name of a folder", lambda home: None),
    "mount-point": ("/proc", "is a mount point", lambda home: None),
    "folder-of-folders": ("../deep", "was not written by archc", lambda home: (home / "deep/a/b").mkdir(parents=True)),
}


@pytest.mark.parametrize("case", REFUSED_FOLDERS)
def test_an_onnx_folder_never_replaces_what_archc_did_not_write(archc: Archc, home: Path, case: str) -> None:
    out, message, prepare = REFUSED_FOLDERS[case]
    prepare(home)
    before = snapshot(home)
    result = archc("build", "../CK", "--target", "onnx", "-o", out)
    assert (result.code, result.out) == (2, "")
    assert message in result.errors[0]
    assert snapshot(home) == before


@pytest.mark.parametrize("case", [case for case in REFUSED_FOLDERS if "checkpoint" not in case])
def test_unpack_never_replaces_what_archc_did_not_write(archc: Archc, small: Path, home: Path, case: str) -> None:
    out, message, prepare = REFUSED_FOLDERS[case]
    prepare(home)
    before = snapshot(home)
    result = archc("unpack", small, "-o", out)
    assert (result.code, result.out) == (2, "")
    assert message in result.errors[0]
    assert snapshot(home) == before


def test_a_name_with_a_nul_byte_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(api.Error, match="cannot be written: embedded null byte"):
        api.build("small-lm", random=1, out="a\0b")


def test_unpack_keeps_the_folder_of_its_plan(archc: Archc, small: Path, tmp_path: Path) -> None:
    assert archc("unpack", small, "-o", tmp_path / "out").code == 0
    shutil.copy(small, tmp_path / "out" / "engine.plan")
    before = snapshot(tmp_path)
    result = archc("unpack", tmp_path / "out" / "engine.plan", "-o", tmp_path / "out")
    assert result.code == 2
    assert "an input of this command" in result.errors[0]
    assert snapshot(tmp_path) == before


def test_own_outputs_are_replaced(archc: Archc, small: Path, qwen: Path, tmp_path: Path) -> None:
    plan, folder = tmp_path / "engine.plan", tmp_path / "folder"
    shutil.copy(qwen, plan)
    assert archc("build", *RANDOM, "-o", plan).code == 0
    assert archc("inspect", plan, "--json").json["family"] == "small-lm"
    folder.mkdir()
    assert archc("unpack", qwen, "-o", folder).code == 0
    assert (folder / "tokenizer" / "tokenizer.json").is_file()
    assert archc("unpack", small, "-o", folder).code == 0
    names = ["manifest.json", "model.onnx", "packed.onnx", "weights.bin"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert archc("build", TINY, "--target", "onnx", "-o", folder).code == 0
    assert (folder / "tokenizer.json").is_file()
    assert archc("build", *RANDOM, "--target", "onnx", "-o", folder).code == 0
    assert sorted(path.name for path in folder.iterdir()) == ["archc.json", "model.onnx", "weights.bin"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["engine.plan", "folder"]


@pytest.mark.parametrize("edit", ["added", "linked", "folder"])
def test_a_users_file_in_an_own_folder_keeps_all_of_it(archc: Archc, small: Path, tmp_path: Path, edit: str) -> None:
    folder = tmp_path / "folder"
    assert archc("unpack", small, "-o", folder).code == 0
    if edit == "added":
        (folder / "thesis.txt").write_text("mine")
    elif edit == "folder":
        (folder / "thesis.txt").mkdir()
    else:
        (folder / "weights.bin").rename(tmp_path / "moved")
        (folder / "weights.bin").symlink_to(tmp_path / "moved")
    before = snapshot(tmp_path)
    name = "weights.bin" if edit == "linked" else "thesis.txt"
    for command in (["unpack", small], ["build", *RANDOM, "--target", "onnx"]):
        result = archc(*command, "-o", folder)
        assert result.code == 2
        assert f"contains files that archc did not write ({name})" in result.errors[0]
    assert snapshot(tmp_path) == before


def test_a_file_that_appears_while_a_folder_is_written_keeps_the_old_one(
    archc: Archc, small: Path, qwen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    assert archc("unpack", small, "-o", folder).code == 0
    before = snapshot(tmp_path)
    monkeypatch.setattr(replacing, "_sync_tree", lambda _: (folder / "thesis.txt").write_text("mine"))
    result = archc("unpack", qwen, "-o", folder)
    assert result.code == 2
    assert "contains files that archc did not write (thesis.txt)" in result.errors[0]
    after = snapshot(tmp_path)
    assert after.pop("folder/thesis.txt")[2] == b"mine"
    assert after == before


def test_a_file_that_appears_in_the_last_moment_is_kept_with_the_old_folder(
    archc: Archc, small: Path, qwen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    assert archc("unpack", small, "-o", folder).code == 0
    put = replacing._put_in_place

    def late(temporary: Path, path: Path) -> Path | None:
        (path / "thesis.txt").write_text("mine")
        return put(temporary, path)

    monkeypatch.setattr(replacing, "_put_in_place", late)
    result = archc("unpack", qwen, "-o", folder)
    assert result.code == 2
    (kept,) = set(tmp_path.iterdir()) - {folder}
    assert f"is written, but files were added to the older folder meanwhile; they are in {kept}" in result.errors[0]
    assert [path.name for path in kept.iterdir()] == ["thesis.txt"]
    assert (folder / "tokenizer" / "tokenizer.json").is_file()


@pytest.mark.parametrize("named", [False, True], ids=["linked", "renamed"])
def test_a_file_that_appears_while_a_plan_is_written_stays(
    archc: Archc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    out = tmp_path / "engine.plan"
    rename, link = replacing._rename, os.link

    def late_rename(source: Path, target: Path, flag: int) -> bool:
        target.write_text("mine")
        return rename(source, target, flag)

    def late_link(source: Path, target: Path, **options: Any) -> None:
        target.write_text("mine")
        link(source, target, **options)

    if named:
        monkeypatch.setattr(writer, "_open_unnamed", lambda _: None)
    monkeypatch.setattr(replacing, "_rename", late_rename)
    monkeypatch.setattr(os, "link", late_link)
    result = archc("build", *RANDOM, "-o", out)
    assert result.code == 2
    assert "appeared while the plan was written" in result.errors[0]
    assert out.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("replaces", ["nothing", "a-plan"])
def test_a_file_that_appears_before_the_last_moment_stays(
    archc: Archc, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replaces: str
) -> None:
    out = tmp_path / "engine.plan"
    if replaces == "a-plan":
        shutil.copy(small, out)
    write_directory = PlanWriter._write_directory

    def late(writer: PlanWriter) -> None:
        write_directory(writer)
        out.write_text("mine")

    monkeypatch.setattr(PlanWriter, "_write_directory", late)
    result = archc("build", *RANDOM, "-o", out)
    assert result.code == 2
    assert "is not an archc plan" in result.errors[0]
    assert out.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [out]


def test_a_device_is_no_timing_cache(archc: Archc, home: Path) -> None:
    os.mkfifo(home / "pipe")
    before = snapshot(home)
    result = archc("build", *RANDOM, "--target", "tensorrt", "--timing-cache", home / "pipe", "-o", "engine.plan")
    assert result.code == 2
    assert "is a device, pipe or socket; name another file with --timing-cache" in result.errors[0]
    assert snapshot(home) == before
