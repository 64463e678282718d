"""Bringing a large file to the disk while it is being written: the last flush would wait for all of it."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO

_STRETCH = 256 << 20  # bytes between two flushes


class EarlyFlush:
    """Flushes a file beside its writer, a stretch at a time.

    Whatever the disk refuses is raised as OSError by a later call. Until `close`, the file must stay open.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._unflushed = 0
        self._worker: ThreadPoolExecutor | None = None
        self._running: Future[None] | None = None

    def wrote(self, size: int) -> None:
        """Note that `size` bytes more were written; start a flush if there are enough and none is under way."""
        self._unflushed += size
        if self._unflushed < _STRETCH or (self._running is not None and not self._running.done()):
            return
        self._wait()
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, "flush")
        self._unflushed = 0
        self._running = self._worker.submit(os.fsync, self._file.fileno())

    def close(self) -> None:
        """End the thread; nothing more may be noted."""
        try:
            self._wait()
        finally:
            if self._worker is not None:
                self._worker.shutdown()

    def _wait(self) -> None:
        if self._running is not None:
            running, self._running = self._running, None
            running.result()
