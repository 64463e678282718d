"""Putting a finished file or folder in place of an older one; a crash leaves the older one or the new one whole."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from archc.plan.errors import PlanError
from archc.plan.leftovers import lock_folder, remove_leftovers, temporary_path
from archc.plan.ownership import check_folder_path, check_plan_path

_NOREPLACE, _EXCHANGE = 1, 2  # flags of renameat2(2)
_AT_FDCWD = -100
_ANY = 0  # with a descriptor, which has no effect on an absolute path, os.link follows links
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


def replace_plan(temporary: Path, path: Path) -> None:
    """Rename a finished plan to `path`; raise PlanError where something appeared there that is not a plan."""
    check_plan_path(path)
    if path.exists():
        temporary.replace(path)
        return
    try:
        if not _rename(temporary, path, _NOREPLACE):
            temporary.replace(path)
    except FileExistsError:
        raise PlanError(f"{path}: appeared while the plan was written; name another file with -o") from None


def name_plan(unnamed: Path, temporary: Path, path: Path) -> None:
    """Name a finished file that has no name; raise PlanError where something appeared at `path` that is not a plan."""
    check_plan_path(path)
    if not path.exists():
        try:
            os.link(unnamed, path, src_dir_fd=_ANY)
        except FileExistsError:
            raise PlanError(f"{path}: appeared while the plan was written; name another file with -o") from None
        return
    os.link(unnamed, temporary, src_dir_fd=_ANY)  # a link cannot replace a file, a rename can
    try:
        replace_plan(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def new_folder(path: Path, inputs: Iterable[Path] = ()) -> Iterator[Path]:
    """Give an empty folder next to `path` to fill; it takes the place of `path` where the block ends without an error.

    Raises PlanError where `path` may not be replaced (see `ownership`), before and after the block; OSError as the disk
    does. Of an older folder only the files that its manifest lists are deleted.
    """
    inputs = list(inputs)
    remove_leftovers(path)
    check_folder_path(path, inputs)
    temporary = temporary_path(path)
    temporary.mkdir()
    with ExitStack() as locks:
        _lock(locks, temporary)
        try:
            yield temporary
            _sync_tree(temporary)
            old_files = check_folder_path(path, inputs)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        if path.exists():
            _lock(locks, path)
        try:
            old = _put_in_place(temporary, path)
        except OSError:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        _sync_folder(path.absolute().parent)
        if old is not None:
            _delete(old, old_files, path)


def _lock(locks: ExitStack, folder: Path) -> None:
    """Lock a folder until the stack is closed, so that no other writer takes it for a leftover."""
    descriptor = lock_folder(folder)
    if descriptor is not None:
        locks.callback(os.close, descriptor)


def _put_in_place(temporary: Path, path: Path) -> Path | None:
    """Rename a folder to `path`; return where the older one is now, or None where there was none with files in it."""
    if not path.exists() or not any(path.iterdir()):
        temporary.rename(path)  # fails where a file, or a folder that is not empty, has appeared
        return None
    if _rename(temporary, path, _EXCHANGE):
        return temporary
    # Without an exchange there is a moment between two renames at which nothing has the name, and both are whole.
    old = path.with_name(f"{temporary.name.removesuffix('.tmp')}.old")
    path.rename(old)
    try:
        temporary.rename(path)
    except OSError:
        old.rename(path)
        raise
    return old


def _rename(source: Path, target: Path, flag: int) -> bool:
    """Rename by renameat2(2); return False where the system or its file system has no such rename."""
    import ctypes  # only writers use it

    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    if call(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), flag) == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), str(target))


def _delete(old: Path, files: Iterable[str], path: Path) -> None:
    """Delete an older folder's files; what appeared in it since they were listed stays, and PlanError says where."""
    folders = {old}
    for name in files:
        (old / name).unlink(missing_ok=True)
        folders |= {old / parent for parent in Path(name).parents}
    try:
        for folder in sorted(folders, reverse=True):  # those inside first
            folder.rmdir()
    except OSError:
        leftover = path.with_name(f"{path.name}.old-{secrets.token_hex(3)}")
        old.rename(leftover)
        raise PlanError(
            f"{path}: is written, but files were added to the older folder meanwhile; they are in {leftover}"
        ) from None


def _sync_tree(folder: Path) -> None:
    """Bring everything in a folder to the disk."""
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            _sync_tree(Path(entry.path))
        else:
            with Path(entry.path).open("rb") as file:
                os.fsync(file.fileno())
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    """Bring a folder's names to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
