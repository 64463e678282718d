"""Writing a plan: beside its final name, flushed to disk, then renamed, so that a crash leaves the old file or none."""

from __future__ import annotations

import errno
import os
import secrets
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from msgspec.structs import replace

from archc.plan import archive
from archc.plan.digests import Digests
from archc.plan.errors import PlanError
from archc.plan.flushing import EarlyFlush
from archc.plan.lane import Lane
from archc.plan.manifest import Entry, Manifest, encode_manifest, parse_manifest
from archc.plan.ownership import check_plan_path
from archc.plan.reader import MANIFEST, check_entries, check_tensors
from archc.plan.replacing import replace_plan

_VERSION = 45  # of the ZIP specification: the first with ZIP64
_DATE = 0x21  # 1 January 1980: the same input gives the same bytes


class EntryStream:
    """A file to write one entry's bytes to, in order; hashes what passes through it.

    Large pieces are written and hashed beside their caller, and what a disk refuses comes out of a later call.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = 0
        self._digests, self._written, self._flush = Digests(), Lane("write"), EarlyFlush(file)

    def write(self, data: bytes | memoryview) -> int:
        """Append `data`, which stays as it is until the entry is closed; return its size in bytes."""
        view = memoryview(data).cast("B")
        self._digests.update(view)
        self._written.take(self._append, view)
        self._size += len(view)
        return len(view)

    def _append(self, piece: memoryview) -> None:
        self._file.write(piece)
        self._flush.wrote(len(piece))

    def tell(self) -> int:
        """Return how many bytes the entry has so far."""
        return self._size

    def align(self, boundary: int) -> int:
        """Pad with zeros to a multiple of `boundary` bytes from the entry's start; return the offset reached."""
        self.write(bytes(-self._size % boundary))
        return self._size

    def finish(self) -> tuple[int, str]:
        """Return the entry's CRC-32, and its SHA-256 in hexadecimal; nothing more may be written."""
        self._written.wait()
        return self._digests.finish()

    def close(self) -> None:
        """End what works beside the caller; raise OSError if the disk refused something."""
        with closing(self._digests), closing(self._flush):
            self._written.close()


@dataclass(frozen=True)
class _Written:
    name: bytes
    header: int
    size: int
    crc: int
    sha256: str


class PlanWriter:
    """Writes a plan entry by entry: `add` or `stream` each, then `finish`, inside a `with` block.

    Leaving the block without `finish`, or by any exception, removes the unfinished file and leaves the old one alone.
    Raises PlanError for a full disk, a missing permission, a bad or repeated name, and a manifest that does not fit.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._entries: dict[str, _Written] = {}
        self._finished = False
        self._open_entry: str | None = None
        self._temporary = self.path.with_name(f".{self.path.name[:80]}.{secrets.token_hex(6)}.tmp")

    def __enter__(self) -> Self:
        check_plan_path(self.path)
        with self._disk_errors():
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
            self._file: BinaryIO = os.fdopen(os.open(self._temporary, flags, 0o666), "w+b")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._finished:
            return
        # Closing flushes, which fails again on a full disk; the file goes either way.
        try:
            self._file.close()
        except OSError as failure:
            if error is None:
                raise self._explain(failure) from None
        finally:
            self._temporary.unlink(missing_ok=True)
        if error is None:
            raise PlanError(f"{self.path}: the plan was not finished: call finish(manifest) before leaving the block")
        if isinstance(error, OSError) and error.errno in _REASONS:
            raise self._explain(error) from None

    def add(self, name: str, data: bytes) -> None:
        """Write one whole entry."""
        with self.stream(name) as entry:
            entry.write(data)

    @contextmanager
    def stream(self, name: str) -> Iterator[EntryStream]:
        """Open one entry for writing in pieces; its size need not be known beforehand."""
        problem = archive.check_name(name)
        if problem:
            raise PlanError(f"{self.path}: the entry name {name!r} {problem}")
        if name == MANIFEST or name in self._entries:
            raise PlanError(f"{self.path}: entry {name!r} is written twice, or is the manifest: give that to finish()")
        if self._open_entry is not None or self._finished:
            raise PlanError(f"{self.path}: entry {name!r}: finish the entry {self._open_entry!r} first")
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
            self._file.close()
            replace_plan(self._temporary, self.path)
            self._finished = True
            _sync_folder(self.path.parent)
        return self.path

    def _write(self, name: str) -> Iterator[EntryStream]:
        """Write one entry around what the caller puts into the stream, with room in the header for its size."""
        self._open_entry = name
        file, raw = self._file, name.encode()
        header = file.seek(0, os.SEEK_END)
        # Local header, then two extra fields: ZIP64 sizes, and padding in the form that Android's zipalign made known.
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
                archive.LOCAL_MAGIC, _VERSION, archive.UTF8_FLAG, 0, 0, _DATE, crc,
                archive.MAX32, archive.MAX32, len(raw), 26 + padding,
            )
            + raw
            + struct.pack("<HHQQ", archive.ZIP64_EXTRA, 16, size, size)
            + struct.pack("<HHH", archive.ALIGNMENT_EXTRA, 2 + padding, archive.PAGE)
        )  # fmt: skip
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
                    archive.CENTRAL_MAGIC, 3 << 8 | _VERSION, _VERSION, archive.UTF8_FLAG, 0, 0, _DATE, entry.crc,
                    archive.MAX32, archive.MAX32, len(entry.name), len(extra), 0, 0, 0, 0o100644 << 16, archive.MAX32,
                )
                + entry.name
                + extra
            )  # fmt: skip
        end, count = file.tell(), len(self._entries)
        file.write(archive.END64.pack(
            archive.END64_MAGIC, archive.END64.size - 12, 3 << 8 | _VERSION, _VERSION, 0, 0,
            count, count, end - start, start,
        ))  # fmt: skip
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
    errno.ENOSPC: "the disk is full; free some space or give another folder with -o",
    errno.EDQUOT: "your disk quota is used up; free some space or give another folder with -o",
    errno.EACCES: "no permission to write in its folder; give another folder with -o",
    errno.EPERM: "no permission to write in its folder; give another folder with -o",
    errno.EROFS: "its folder is read-only; give another folder with -o",
    errno.ENOENT: "its folder does not exist; make it first",
    errno.EISDIR: "there is a folder of that name; give a file name with -o",
    errno.EFBIG: "the file system does not allow a file of that size; give another folder with -o",
    errno.ENAMETOOLONG: "its name is too long; give a shorter one with -o",
}


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the system lets a folder be opened."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
