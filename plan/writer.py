"""The writer of plan files. A crash leaves the old file or none: a plan has no name until it is whole and on the disk.

On a system without unnamed files, a hidden file next to the plan is renamed, and the next writer removes those of
killed processes.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from msgspec.structs import replace

from archc.plan import archive
from archc.plan.errors import PlanError
from archc.plan.leftovers import lock, remove_leftovers, temporary_path
from archc.plan.manifest import Manifest, encode_manifest, parse_manifest
from archc.plan.ownership import check_plan_path
from archc.plan.pipeline import EntryStream
from archc.plan.reader import MANIFEST, check_entries, check_tensors
from archc.plan.records import Entry
from archc.plan.replacing import name_plan, replace_plan

_VERSION = 45  # of the ZIP specification: the first with ZIP64
_DATE = 0x21  # 1 January 1980, so that builds are deterministic


@dataclass(frozen=True)
class _Written:
    """The directory's record of one entry."""

    name: bytes
    header: int
    size: int
    crc: int
    sha256: str


class PlanWriter:
    """A plan that is written entry by entry inside a `with` block: `add` or `stream` for each, then `finish`.

    Leaving the block without `finish`, or by an exception, deletes the temporary file and keeps an older plan.
    Raises PlanError for a full disk, a missing permission, an invalid or repeated name, or an inconsistent manifest.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._entries: dict[str, _Written] = {}
        self._finished = False
        self._open_entry: str | None = None
        self._temporary = temporary_path(self.path)

    def __enter__(self) -> Self:
        check_plan_path(self.path)
        remove_leftovers(self.path)
        with self._disk_errors():
            descriptor = _open_unnamed(self.path.absolute().parent)
            self._is_named = descriptor is None
            self._file: BinaryIO = os.fdopen(self._open_named() if descriptor is None else descriptor, "w+b")
            lock(self._file.fileno())
        return self

    def _open_named(self) -> int:
        """Create the temporary file, locked; another writer may remove it before it is, and it is created again."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        while True:
            descriptor = os.open(self._temporary, flags, 0o666)
            lock(descriptor)
            if os.fstat(descriptor).st_nlink:
                return descriptor
            os.close(descriptor)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._finished:
            return
        with suppress(OSError):  # closing flushes, which fails again on a full disk; the file is deleted in any case
            self._file.close()
        if self._is_named:
            self._temporary.unlink(missing_ok=True)
        if error is None:
            raise PlanError(f"{self.path}: the plan is unfinished; call finish(manifest) before the end of the block")
        if isinstance(error, OSError) and error.errno in _REASONS:
            raise self._explain(error) from None

    def add(self, name: str, data: bytes) -> None:
        """Write one whole entry."""
        with self.stream(name) as entry:
            entry.write(data)

    @contextmanager
    def stream(self, name: str) -> Iterator[EntryStream]:
        """Open one entry for writing in chunks."""
        problem = archive.check_name(name)
        if problem:
            raise PlanError(f"{self.path}: the entry name {name!r} {problem}; use a plain relative path")
        if name == MANIFEST or name in self._entries:
            raise PlanError(
                f"{self.path}: entry {name!r} already exists or is the manifest; pass the manifest to finish()"
            )
        if self._open_entry is not None or self._finished:
            raise PlanError(f"{self.path}: entry {name!r}: entry {self._open_entry!r} is still open; close it first")
        with self._disk_errors():
            yield from self._write(name)

    def finish(self, manifest: Manifest) -> Path:
        """Write `manifest` with the entries' sizes and hashes, flush to disk, and rename; return the plan's path."""
        entries = {name: Entry(bytes=entry.size, sha256=entry.sha256) for name, entry in sorted(self._entries.items())}
        manifest = replace(manifest, entries=entries)
        sizes = {name: entry.size for name, entry in self._entries.items()}
        encoded = encode_manifest(manifest)
        manifest = parse_manifest(encoded, str(self.path))
        check_entries(manifest, sizes, str(self.path))
        check_tensors(manifest, sizes, str(self.path))
        with self._disk_errors():
            for stream in self._write(MANIFEST):
                stream.write(encoded)
            self._write_directory()
            self._file.flush()
            os.fsync(self._file.fileno())
            if self._is_named:
                self._file.close()
                replace_plan(self._temporary, self.path)
            else:
                name_plan(_link_source(self._file.fileno()), self._temporary, self.path)
                self._file.close()
            self._finished = True
            _sync_folder(self.path.parent)
        return self.path

    def _write(self, name: str) -> Iterator[EntryStream]:
        """Write one entry: yield its stream, then fill in the header, which has a fixed size."""
        self._open_entry = name
        file, raw = self._file, name.encode()
        header = file.seek(0, os.SEEK_END)
        # Local header, then two extra fields: ZIP64 sizes, and padding in the format of Android's zipalign.
        fixed = archive.LOCAL.size + len(raw) + 20 + 6
        padding = -(header + fixed) % archive.PAGE
        file.write(bytes(fixed + padding))
        stream = EntryStream(file)
        try:
            yield stream
            crc, sha256 = stream.finish()
        finally:
            stream.close()
        size = stream.tell()
        file.seek(header)
        file.write(
            archive.LOCAL.pack(
                archive.LOCAL_MAGIC,
                _VERSION,
                archive.UTF8_FLAG,
                0,
                0,
                _DATE,
                crc,
                archive.MAX32,
                archive.MAX32,
                len(raw),
                26 + padding,
            )
            + raw
            + struct.pack("<HHQQ", archive.ZIP64_EXTRA, 16, size, size)
            + struct.pack("<HHH", archive.ALIGNMENT_EXTRA, 2 + padding, archive.PAGE)
        )
        file.seek(0, os.SEEK_END)
        self._entries[name] = _Written(raw, header, size, crc, sha256)
        self._open_entry = None

    def _write_directory(self) -> None:
        file = self._file
        start = file.seek(0, os.SEEK_END)
        for entry in self._entries.values():
            extra = struct.pack("<HHQQQ", archive.ZIP64_EXTRA, 24, entry.size, entry.size, entry.header)
            file.write(
                archive.CENTRAL.pack(
                    archive.CENTRAL_MAGIC,
                    3 << 8 | _VERSION,
                    _VERSION,
                    archive.UTF8_FLAG,
                    0,
                    0,
                    _DATE,
                    entry.crc,
                    archive.MAX32,
                    archive.MAX32,
                    len(entry.name),
                    len(extra),
                    0,
                    0,
                    0,
                    0o100644 << 16,
                    archive.MAX32,
                )
                + entry.name
                + extra
            )
        end, count = file.tell(), len(self._entries)
        file.write(
            archive.END64.pack(
                archive.END64_MAGIC,
                archive.END64.size - 12,
                3 << 8 | _VERSION,
                _VERSION,
                0,
                0,
                count,
                count,
                end - start,
                start,
            )
        )
        file.write(archive.LOCATOR64.pack(archive.LOCATOR64_MAGIC, 0, end, 1))
        file.write(archive.END.pack(archive.END_MAGIC, 0, 0, count, count, end - start, archive.MAX32, 0))

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._explain(error) from None

    def _explain(self, error: OSError) -> PlanError:
        reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
        return PlanError(f"{self.path}: the plan cannot be written: {reason}")


_REASONS = {
    errno.ENOSPC: "the disk is full; free some space, or choose another folder with -o",
    errno.EDQUOT: "the disk quota is exceeded; free some space, or choose another folder with -o",
    errno.EACCES: "no permission to write to its folder; choose another folder with -o",
    errno.EPERM: "no permission to write to its folder; choose another folder with -o",
    errno.EROFS: "its folder is read-only; choose another folder with -o",
    errno.ENOENT: "its folder does not exist; create it first",
    errno.EISDIR: "a folder of that name exists; choose a file name with -o",
    errno.EFBIG: "the file system does not support a file of that size; choose another folder with -o",
    errno.ENAMETOOLONG: "its name is too long; choose a shorter one with -o",
}


# The errors of a system or file system without unnamed files.
_NO_UNNAMED = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT, errno.ENOSYS)


def _open_unnamed(folder: Path) -> int | None:
    """Open a file without a name, which disappears with its process (O_TMPFILE of open(2)); None if there are none."""
    flag = getattr(os, "O_TMPFILE", None)
    if flag is None:
        return None
    try:
        descriptor = os.open(folder, flag | os.O_RDWR, 0o666)
    except OSError as error:
        if error.errno in _NO_UNNAMED:
            return None
        raise
    if _link_source(descriptor).exists():
        return descriptor
    os.close(descriptor)  # without /proc the file could not be named
    return None


def _link_source(descriptor: int) -> Path:
    """Return the path by which linkat(2) names an unnamed file."""
    return Path(f"/proc/self/fd/{descriptor}")


def _sync_folder(folder: Path) -> None:
    """Flush a folder, so that a rename in it is durable; no effect where folders cannot be opened."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
