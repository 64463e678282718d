"""The reader of plan files: checks the whole structure before any content is used."""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import BinaryIO, Self

from archc.plan.archive import Span, read_directory
from archc.plan.errors import EngineError, PlanError
from archc.plan.integers import Replacements
from archc.plan.manifest import Manifest, parse_manifest
from archc.plan.onnx_external import relocate_weights
from archc.plan.ownership import check_folder_path
from archc.plan.replacing import new_folder

MANIFEST, MODEL, ENCODER, WEIGHTS = "manifest.json", "model.onnx", "encoder.onnx", "weights.bin"
PACKED = "packed.onnx"
_LIMITS = {MANIFEST: 64 << 20, MODEL: 1 << 30, ENCODER: 1 << 30, PACKED: 1 << 30}
_TOKENIZER_LIMIT = 256 << 20
_CHUNK = 1 << 20


class Plan:
    """An open plan file with a valid structure; only `verify_hashes` checks the contents of all entries.

    Raises PlanError if the file cannot be opened or deviates from docs/plan-format.md.
    """

    manifest: Manifest

    def __init__(self, path: str | os.PathLike[str]) -> None:
        try:
            self.path = Path(os.path.realpath(path))  # the weights are next to the target of a link
            self._file: BinaryIO = open_regular(self.path)
        except IsADirectoryError:
            raise PlanError(
                f"{os.fspath(path)}: expected a plan file, got a folder; build a plan with --target ort-cpu"
            ) from None
        except (OSError, ValueError) as error:
            raise not_opened(path, error) from None
        try:
            self._open(self._file)
            self._spans = read_directory(self._file, str(self.path))
            self.manifest = parse_manifest(self.read(MANIFEST), str(self.path))
            sizes = {name: span.size for name, span in self._spans.items() if name != MANIFEST}
            check_entries(self.manifest, sizes, str(self.path))
            check_tensors(self.manifest, sizes, str(self.path))
        except OSError as error:
            self._file.close()
            raise PlanError(
                f"{self.path}: the plan cannot be read: {error.strerror}; check the disk, or copy the plan again"
            ) from None
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, file: BinaryIO) -> None:
        """Begin to watch the file with the weights."""
        self._file, self._lock = file, Lock()  # threads share one file position
        self._opened = _stamp(file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def weights(self) -> tuple[Path, int]:
        """The file with the weights, and their offset in it in bytes."""
        return self.path, self._spans[WEIGHTS].offset if WEIGHTS in self._spans else 0

    @property
    def names(self) -> list[str]:
        """Return the names of all entries, including the manifest."""
        return list(self._spans)

    def offset(self, name: str) -> int:
        """Return the entry's offset in the file in bytes; raise PlanError if there is no such entry."""
        return self._span(name).offset

    def size(self, name: str) -> int:
        """Return the entry's size in bytes; raise PlanError if there is no such entry."""
        return self._span(name).size

    def read(self, name: str) -> bytes:
        """Return a whole entry; raise PlanError if it is missing or exceeds the size limit of its kind."""
        span = self._span(name)
        limit = _TOKENIZER_LIMIT if name.startswith("tokenizer/") else _LIMITS.get(name, span.size)
        if span.size > limit:
            raise PlanError(
                f"{self.path}: {name}: expected at most {limit} bytes, got {span.size}; build the plan again"
            )
        file = self._source(name)
        with self._lock:
            file.seek(span.offset)
            data = file.read(span.size)
        if len(data) != span.size:
            raise self._truncated(name)
        return data

    def model(self, name: str = MODEL, replacements: Replacements | None = None) -> bytes:
        """Return a graph whose external data points into this file, so that a runtime can map the weights in place.

        With `replacements`, integer products have the form for processors without VNNI.
        """
        file, offset = self.weights
        where = f"{self.path}: {name}"
        return relocate_weights(self.read(name), self.manifest.tensors, file.name, offset, where, replacements)

    @contextmanager
    def mapped(self, name: str) -> Iterator[memoryview]:
        """Map an entry's bytes into memory for the duration of the block."""
        span = self._span(name)
        if not span.size:
            raise PlanError(f"{self.path}: {name} is empty; build the plan again")
        skipped = span.offset % mmap.ALLOCATIONGRANULARITY
        with (
            mmap.mmap(
                self._source(name).fileno(), skipped + span.size, access=mmap.ACCESS_READ, offset=span.offset - skipped
            ) as pages,
            memoryview(pages) as view,
            view[skipped:] as data,
        ):
            yield data

    def verify_hashes(self) -> None:
        """Read the whole file and raise PlanError for the first entry with a wrong SHA-256."""
        for name, entry in self.manifest.entries.items():
            digest = hashlib.sha256()
            self._copy(name, digest.update)
            if digest.hexdigest() != entry.sha256:
                raise PlanError(
                    f"{self.path}: {name} is damaged: its SHA-256 is not the manifest's; copy or build the plan again"
                )

    def unpack(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Check every hash, write the entries into a new folder, and return the files.

        An older folder is replaced only where archc wrote all of it; see `ownership`.
        """
        root = Path(folder)
        try:
            if os.path.lexists(root):
                check_folder_path(root, [self.path])
            self.verify_hashes()
            root.absolute().parent.mkdir(parents=True, exist_ok=True)
            with new_folder(root, [self.path]) as temporary:
                for name in self._spans:
                    self._unpack_entry(name, temporary / name)
        except OSError as error:
            raise PlanError(f"{root}: the plan cannot be unpacked there: {error.strerror}") from None
        return [root.resolve() / name for name in self._spans]

    def check_unchanged(self) -> None:
        """Raise PlanError if the path no longer refers to the file that was opened and checked."""
        try:
            now = self.weights[0].stat()
        except OSError as error:
            raise PlanError(
                f"{self.path}: the plan file was deleted during loading: {error.strerror}; load it again"
            ) from None
        then = os.fstat(self._file.fileno())
        if (now.st_dev, now.st_ino) != (then.st_dev, then.st_ino):
            raise PlanError(f"{self.path}: the plan file was replaced during loading; load it again")

    def check_content(self) -> None:
        """Raise PlanError if the open file was written since it was opened, by its size and time; not after `close`.

        The runtime maps the weights, so that a file that is overwritten in place changes them, and a shorter one ends
        the process at the first page that is missing.
        """
        if not self._file.closed and _stamp(self._file.fileno()) != self._opened:
            raise PlanError(
                f"{self.path}: the plan file was overwritten while it is in use; replace plans by a new file (as "
                "archc build does), and load it again"
            )

    def _truncated(self, name: str) -> PlanError:
        return PlanError(f"{self.path}: {name} ends early: the file was truncated while it was open; copy it again")

    def _source(self, name: str) -> BinaryIO:
        """Return the open file that an entry's span is of."""
        return self._file

    def _span(self, name: str) -> Span:
        if self._file.closed:
            raise EngineError(f"{self.path}: the plan is closed; open it again")
        if name not in self._spans:
            raise PlanError(f"{self.path}: incomplete engine.plan: entry {name!r} not found; build the plan again")
        return self._spans[name]

    def _copy(self, name: str, sink: Callable[[bytes], object]) -> None:
        span, file = self._span(name), self._source(name)
        file.seek(span.offset)
        left = span.size
        while left:
            chunk = file.read(min(left, _CHUNK))
            if not chunk:
                raise self._truncated(name)
            sink(chunk)
            left -= len(chunk)

    def _unpack_entry(self, name: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            self._copy(name, file.write)


def check_entries(manifest: Manifest, sizes: Mapping[str, int], where: str) -> None:
    """Raise PlanError unless `sizes` (bytes by entry name) are the entries of the manifest and fit its sections."""
    optional = {ENCODER: manifest.encoder, PACKED: manifest.packed}
    graphs = [MODEL, *(name for name, section in optional.items() if section is not None)]
    sections = (manifest.engine, manifest.encoder.engine if manifest.encoder is not None else None)
    engines = [section.file for section in sections if section is not None]
    # A plan with engines may also have the graphs that they were built from: all of them, or none.
    required = [*engines, *(graphs if not engines or any(name in sizes for name in graphs) else [])]
    for name in required:
        if name not in sizes:
            raise PlanError(f"{where}: incomplete engine.plan: entry {name!r} not found; build the plan again")
    for name, section in optional.items():
        if section is None and name in sizes:
            key = name.partition(".")[0]
            raise PlanError(f"{where}: unexpected entry {name!r}: the manifest has no `{key}`; build the plan again")
    for name in ("engine.trt", "encoder.trt"):
        if name in sizes and name not in engines:
            raise PlanError(
                f"{where}: unexpected entry {name!r}: the manifest has no such `engine`; build the plan again"
            )
    if mismatched := sorted(set(sizes) ^ set(manifest.entries)):
        raise PlanError(
            f"{where}: entry {mismatched[0]!r}: expected in both the file and its manifest; build the plan again"
        )
    for name, entry in manifest.entries.items():
        if entry.bytes != sizes[name]:
            raise PlanError(
                f"{where}: {name}: expected {entry.bytes} bytes as in the manifest, got {sizes[name]}; "
                "build the plan again"
            )


def check_tensors(manifest: Manifest, sizes: Mapping[str, int], where: str) -> None:
    """Raise PlanError if a tensor of the manifest is outside of weights.bin."""
    size = sizes.get(WEIGHTS, 0)
    for tensor in manifest.tensors:
        if tensor.offset + tensor.bytes > size:
            raise PlanError(
                f"{where}: tensor {tensor.name!r} ends at byte {tensor.offset + tensor.bytes} of {WEIGHTS}, "
                f"which has {size} bytes; build the plan again"
            )


def open_regular(path: Path) -> BinaryIO:
    """Return an open file; raise PlanError for a pipe or a device, whose opening could wait for ever."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise PlanError(f"{path}: expected a file, got a pipe or a device; give the path of a plan")
    return path.open("rb")


def not_opened(path: str | os.PathLike[str], error: OSError | ValueError) -> PlanError:
    """Return the PlanError of a path that cannot be opened."""
    reason = getattr(error, "strerror", None) or str(error)
    place = repr(os.fsdecode(path))[1:-1]  # escapes control characters
    return PlanError(f"{place:.300}: the plan cannot be opened: {reason}; check the path and its permissions")


def _stamp(descriptor: int) -> tuple[int, int]:
    """Return size and modification time of an open file."""
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns
