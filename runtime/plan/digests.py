"""The checksums of an entry, computed beside the writing of it."""

from __future__ import annotations

import hashlib
import zlib
from concurrent.futures import Future, ThreadPoolExecutor

_LARGE = 1 << 20  # a smaller piece is done before a thread has it


class Digests:
    """CRC-32 and SHA-256 of all pieces in their order.

    Both let other threads run, and each takes longer than copying the piece to the file. A large piece must stay as it
    is until the next call.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._crc = 0
        self._workers: ThreadPoolExecutor | None = None
        self._running: list[Future[None]] = []

    def update(self, piece: memoryview) -> None:
        """Take in one more piece, after the one before is done: no more than two are held at a time."""
        self._wait()
        if len(piece) < _LARGE:
            self._add_hash(piece)
            self._add_crc(piece)
            return
        if self._workers is None:
            self._workers = ThreadPoolExecutor(2, "digest")
        self._running = [self._workers.submit(self._add_hash, piece), self._workers.submit(self._add_crc, piece)]

    def finish(self) -> tuple[int, str]:
        """Return the CRC-32, and the SHA-256 in hexadecimal."""
        self._wait()
        self.close()
        return self._crc, self._hash.hexdigest()

    def close(self) -> None:
        """End the threads; nothing more can be taken in."""
        if self._workers is not None:
            self._workers.shutdown()

    def _wait(self) -> None:
        for future in self._running:
            future.result()
        self._running = []

    def _add_hash(self, piece: memoryview) -> None:
        self._hash.update(piece)

    def _add_crc(self, piece: memoryview) -> None:
        self._crc = zlib.crc32(piece, self._crc)
