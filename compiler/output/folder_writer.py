"""The ONNX folder of the `onnx` target, written entry by entry and put in place as a whole."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from msgspec.structs import replace

from archc.compiler.errors import BuildError
from archc.plan import Entry, EntryStream, Manifest
from archc.plan.manifest import encode_manifest
from archc.plan.ownership import LISTING
from archc.plan.replacing import new_folder


class FolderWriter:
    """Writes a folder like `PlanWriter` writes a plan: `add` or `stream` each entry, then `finish`, in a `with` block.

    The manifest lists every file with its size and SHA-256, so that a later build recognizes what it may replace.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stack = ExitStack()
        self._entries: dict[str, Entry] = {}

    def __enter__(self) -> Self:
        with self._disk_errors():
            self._folder = self._stack.enter_context(new_folder(self.path))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._disk_errors():
            self._stack.__exit__(kind, error, trace)
            if isinstance(error, OSError):
                raise error

    def add(self, name: str, data: bytes) -> None:
        """Write one whole file."""
        (self._folder / name).write_bytes(data)
        self._entries[name] = Entry(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())

    @contextmanager
    def stream(self, name: str) -> Iterator[EntryStream]:
        """Open one file for writing in pieces."""
        with (self._folder / name).open("xb") as file, closing(EntryStream(file)) as stream:
            yield stream
            self._entries[name] = Entry(bytes=stream.tell(), sha256=stream.finish()[1])

    def finish(self, manifest: Manifest) -> Path:
        """Write the manifest with the entries' sizes and hashes; return the path."""
        (self._folder / LISTING).write_bytes(encode_manifest(replace(manifest, entries=self._entries)))
        return self.path

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise BuildError(f"{self.path}: cannot be written: {error.strerror or error}") from None
