"""The file of a batch's results: one record a line, appended whole, so that a later run continues it."""

from __future__ import annotations

import fcntl
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from archc.cli.console import UsageError


class Output:
    """Results on stdout, or appended to a file; `ids` are those of earlier runs, `errors` the number of their errors.

    Raises UsageError for a file of another kind, or one that another run writes.
    """

    def __init__(self, path: Path | None) -> None:
        self.ids, self.errors = set[str](), 0
        self._path, self._file = path, -1
        if path is None:
            return
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror or error}; name another file with -o") from None
        try:
            self._lock(path)
            self._read(path)
        except BaseException:
            os.close(self._file)
            raise

    def _lock(self, path: Path) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"{path}: another run writes to it; wait for it, or name another file with -o") from None

    def _read(self, path: Path) -> None:
        """Read the ids of an older file, and remove a last line without its end."""
        complete = 0
        with path.open("rb") as file:
            for number, data in enumerate(file, 1):
                if not data.endswith(b"\n"):
                    if not data.startswith(b'{"id":'[: len(data)]):
                        raise _foreign(path, number)
                    os.ftruncate(self._file, complete)
                    return
                complete += len(data)
                try:
                    record = json.loads(data)
                    name, error = record["custom_id"], record["error"]
                except (ValueError, RecursionError, KeyError, TypeError):
                    raise _foreign(path, number) from None
                self.ids.add(str(name))
                self.errors += error is not None

    def write(self, record: Mapping[str, Any]) -> None:
        """Append a record. Raises OSError as the disk does."""
        text = json.dumps(record, ensure_ascii=False) + "\n"
        if self._path is None:
            sys.stdout.write(text)
            sys.stdout.flush()
            return
        data = memoryview(text.encode("utf-8", "backslashreplace"))
        while data:
            data = data[os.write(self._file, data) :]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file >= 0:
            os.close(self._file)


def _foreign(path: Path, number: int) -> UsageError:
    return UsageError(f"{path}:{number}: not a result of a batch; name another file with -o")
