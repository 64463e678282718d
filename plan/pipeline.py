"""Checksums, writes and flushes of an entry's bytes, in background threads while the caller produces the next chunk."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import BinaryIO

from isal.isal_zlib import crc32  # several times as fast as zlib's, with the same results

LARGE_BYTES = 1 << 20  # a smaller chunk is processed faster than a thread receives it
FLUSH_BYTES = 256 << 20  # bytes between two flushes
_MAX_PENDING = 2


class BackgroundWorker:
    """A single thread that runs jobs in order; an exception of a job is raised by a later call."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, name)
        self._jobs: deque[Future[object]] = deque()

    @property
    def is_busy(self) -> bool:
        """Return whether a job is unfinished."""
        return bool(self._jobs) and not self._jobs[-1].done()

    def submit(self, job: Callable[[], object], is_short: bool = False) -> None:
        """Append a job; block while two unfinished ones precede it. A short job runs at once if none precedes it."""
        while self._jobs and (len(self._jobs) >= _MAX_PENDING or self._jobs[0].done()):
            self._jobs.popleft().result()
        if is_short and not self._jobs:
            job()
        else:
            self._jobs.append(self._thread.submit(job))

    def wait(self) -> None:
        """Block until every job is done."""
        while self._jobs:
            self._jobs.popleft().result()

    def close(self) -> None:
        """Wait for every job and end the thread."""
        try:
            self.wait()
        finally:
            self._thread.shutdown(cancel_futures=True)


class EntryStream:
    """The bytes of one entry: appended to the plan file in order, with their CRC-32 and SHA-256.

    An OSError of a background write or flush is raised by a later call. Flushing during the build leaves little for the
    final fsync.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._size, self._unflushed = file, 0, 0
        self._crc, self._sha256 = 0, hashlib.sha256()
        self._hasher, self._writer, self._flusher = map(BackgroundWorker, ("hash", "write", "flush"))

    def write(self, data: bytes | memoryview) -> int:
        """Append `data`, which must not change until the entry is closed; return its size in bytes."""
        chunk = memoryview(data).cast("B")
        self._crc = crc32(chunk, self._crc)
        is_small = len(chunk) < LARGE_BYTES
        self._hasher.submit(partial(self._sha256.update, chunk), is_small)
        self._writer.submit(partial(self._append, chunk), is_small)
        self._size += len(chunk)
        return len(chunk)

    def tell(self) -> int:
        """Return the number of bytes written so far."""
        return self._size

    def finish(self) -> tuple[int, str]:
        """Return the CRC-32 and the hexadecimal SHA-256 of the whole entry."""
        self._writer.wait()
        self._hasher.wait()
        return self._crc, self._sha256.hexdigest()

    def close(self) -> None:
        """End the threads; raise OSError if the disk refused a write or a flush."""
        with closing(self._hasher), closing(self._flusher):
            self._writer.close()  # first, because its jobs start flushes

    def _append(self, chunk: memoryview) -> None:
        self._file.write(chunk)
        self._unflushed += len(chunk)
        if self._unflushed >= FLUSH_BYTES and not self._flusher.is_busy:
            self._unflushed = 0
            self._flusher.submit(partial(os.fsync, self._file.fileno()))
