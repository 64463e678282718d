"""Output paths: a command replaces only plans and folders that archc wrote, and never anything that it reads.

A plan is recognized by its format, a folder by its manifest. Every other existing path is refused: other files,
devices, pipes, sockets, symbolic links, and folders with files that their manifest does not list.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from archc.plan.archive import read_directory
from archc.plan.errors import PlanError
from archc.plan.manifest import Manifest, parse_manifest

MANIFEST, LISTING = "manifest.json", "archc.json"
"""The manifest of an unpacked plan, and that of an ONNX folder: other runtimes have a manifest.json of their own."""
_MANIFEST_LIMIT = 64 << 20
# Of folders whose manifest lists no entries, as exports did before they had any.
_UNLISTED = ("model.onnx", "weights.bin")
_SHOWN = 3  # names of foreign files in a message


def check_plan_path(path: Path, inputs: Iterable[Path] = ()) -> None:
    """Raise PlanError unless a plan may be written to `path`, of a command that reads `inputs`."""
    if not check_file_path(path):
        return
    if any(_is_same(path, item) for item in inputs):
        raise PlanError(f"{path}: is an input of this command; name another file with -o")
    if not is_plan(path):
        raise PlanError(f"{path}: exists and is not an archc plan; name another file with -o, or remove it first")


def check_file_path(path: Path, option: str = "-o") -> bool:
    """Return whether a regular file is at `path`; raise PlanError where none may be written there."""
    found = _find(path, "a file", option)
    if found is None:
        return False
    if stat.S_ISDIR(found.st_mode):
        raise PlanError(f"{path}: a folder of that name exists; name a file with {option}")
    if not stat.S_ISREG(found.st_mode):
        raise PlanError(f"{path}: is a device, pipe or socket; name another file with {option}")
    return True


def check_folder_path(path: Path, inputs: Iterable[Path] = ()) -> set[str]:
    """Return the files that a new folder at `path` replaces; `inputs` are what the command reads.

    Raises PlanError where a folder may not be written there, or holds a file that archc did not write.
    """
    found = _find(path, "a folder", "-o")
    if found is None:
        return set()
    if not stat.S_ISDIR(found.st_mode):
        raise PlanError(f"{path}: exists and is not a folder; name a folder with -o")
    if os.path.ismount(path):
        raise PlanError(f"{path}: is a mount point; name a folder inside it with -o")
    if _contains(path, Path.cwd()):
        raise PlanError(f"{path}: contains the working directory; name another folder with -o")
    if held := next((item for item in inputs if _contains(path, item)), None):
        raise PlanError(f"{path}: contains {held}, an input of this command; name another folder with -o")
    try:
        files, owned = list_files(path), _owned_names(path)
    except OSError as error:
        raise PlanError(f"{path}: cannot be read: {error.strerror}; name another folder with -o") from None
    if files and owned is None:
        raise PlanError(
            f"{path}: exists and was not written by archc (no {LISTING} or {MANIFEST} of a plan in it); "
            "name another folder with -o, or remove it first"
        )
    if foreign := sorted(files - (owned or set())):
        names = ", ".join(foreign[:_SHOWN]) + (", …" if len(foreign) > _SHOWN else "")
        raise PlanError(
            f"{path}: contains files that archc did not write ({names}); move them away, or name another folder with -o"
        )
    return files


def is_plan(path: Path) -> bool:
    """Return whether a path is a regular file, not a link to one, in the format of a plan."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return False
        try:
            span = read_directory(file, str(path)).get(MANIFEST)
            if span is None or span.size > _MANIFEST_LIMIT:
                return False
            file.seek(span.offset)
            parse_manifest(file.read(span.size), str(path))
        except (PlanError, OSError):
            return False
    return True


def list_files(folder: Path) -> set[str]:
    """Return the relative names of everything in a folder that is no folder itself, and of folders that are empty."""
    names: set[str] = set()
    for entry in os.scandir(folder):
        inside = list_files(Path(entry.path)) if entry.is_dir(follow_symlinks=False) else set()
        names |= {f"{entry.name}/{name}" for name in inside} or {entry.name}
    return names


def _owned_names(folder: Path) -> set[str] | None:
    """Return the regular files that a folder lists, and the list itself; None for a folder without one."""
    manifest = _read_manifest(folder)
    if manifest is None:
        return None
    listed = manifest.entries or [*_UNLISTED, *(["encoder.onnx"] if manifest.encoder is not None else [])]
    return {name for name in (_manifest_path(folder).name, *listed) if _is_regular(folder / name)}


def has_manifest(folder: Path) -> bool:
    """Return whether a path is an ONNX folder or an unpacked plan."""
    return folder.is_dir() and _manifest_path(folder).is_file()


def folder_manifest(folder: Path) -> Manifest:
    """Return the manifest of an ONNX folder or an unpacked plan. Raises OSError, or PlanError if it is damaged."""
    path = _manifest_path(folder)
    return parse_manifest(path.read_bytes(), str(path))


def _manifest_path(folder: Path) -> Path:
    """Return the path of a folder's manifest, if it has one."""
    return folder / (LISTING if (folder / LISTING).is_file() else MANIFEST)


def _read_manifest(folder: Path) -> Manifest | None:
    path = _manifest_path(folder)
    if not _is_regular(path) or path.stat().st_size > _MANIFEST_LIMIT:
        return None
    try:
        return folder_manifest(folder)
    except (PlanError, OSError):
        return None


def _find(path: Path, kind: str, option: str) -> os.stat_result | None:
    """Return what is at a path, or None where nothing is; raise PlanError for links and for places of no use."""
    try:
        if path.name in ("", ".."):  # `.` has no name
            raise PlanError(f"{path}: expected the name of {kind} to write; name one with {option}")
        if not path.absolute().parent.is_dir():
            raise PlanError(f"{path}: its parent folder does not exist; create it first")
        found = path.lstat()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # ValueError: a NUL byte
        raise PlanError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}") from None
    if stat.S_ISLNK(found.st_mode):
        raise PlanError(f"{path}: is a symbolic link; name what it points to, or remove it first")
    return found


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _contains(folder: Path, path: Path) -> bool:
    """Return whether a path is a folder or lies inside it, by whatever names."""
    place = path.resolve()
    return any(_is_same(folder, item) for item in (place, *place.parents))


def _is_same(path: Path, other: Path) -> bool:
    """Return whether two paths are one file: by links, `..`, relative paths, and case where a disk ignores it."""
    try:
        return path.samefile(other)
    except OSError:
        return False
