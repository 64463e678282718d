"""Temporary files and folders of writers: each is locked while its process lives, so others recognize leftovers."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import sys
from contextlib import suppress
from pathlib import Path

from archc.plan.errors import PlanError
from archc.plan.ownership import check_folder_path, has_manifest

if sys.platform != "win32":  # there, nothing is locked, and nothing is removed
    import fcntl

_HEX = 12  # digits of a temporary name


def temporary_path(path: Path) -> Path:
    """Return a new hidden name next to `path`, by which leftovers of a killed writer are recognized."""
    return path.with_name(f".{path.name[:80]}.{secrets.token_hex(_HEX // 2)}.tmp")


def lock(descriptor: int) -> bool:
    """Lock an open file or folder until it is closed, or its process ends; return False if another process has it."""
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # another process has it, or the file system has no locks
        return False
    return True


def lock_folder(path: Path) -> int | None:
    """Lock a folder; return its descriptor, to be closed at the end, or None if folders cannot be opened."""
    if sys.platform == "win32":
        return None
    descriptor = os.open(path, os.O_RDONLY)
    lock(descriptor)
    return descriptor


def remove_leftovers(path: Path) -> None:
    """Remove what killed writers of `path` left next to it.

    A folder that was moved away, with nothing in its place yet, is moved back. Files that archc did not write stay.
    """
    pattern = re.compile(rf"\.{re.escape(path.name[:80])}\.[0-9a-f]{{{_HEX}}}\.(tmp|old)")
    with suppress(OSError):  # a folder without permission to list or delete: the write itself reports it
        for leftover in sorted(path.absolute().parent.iterdir()):
            if pattern.fullmatch(leftover.name):
                _remove(leftover, path)


def _remove(leftover: Path, path: Path) -> None:
    """Remove one leftover, unless its writer is alive."""
    if sys.platform == "win32" or leftover.is_symlink() or not (leftover.is_file() or leftover.is_dir()):
        return
    descriptor = os.open(leftover, os.O_RDONLY)
    try:
        if not lock(descriptor) or not _is_same(descriptor, leftover):
            return
        if leftover.is_file():
            leftover.unlink()
        elif leftover.suffix == ".old" and not path.exists():
            leftover.rename(path)
        else:
            _remove_folder(leftover)
    finally:
        os.close(descriptor)


def _is_same(descriptor: int, path: Path) -> bool:
    """Return whether a name still is of the open file: its writer may have renamed it meanwhile."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _remove_folder(folder: Path) -> None:
    """Remove a half-written folder, or an older output whose files are all listed by its manifest."""
    if has_manifest(folder):
        try:
            check_folder_path(folder)
        except PlanError:
            return
    shutil.rmtree(folder)
