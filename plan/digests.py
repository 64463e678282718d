"""The checksums of an entry, computed beside the writing of it."""

from __future__ import annotations

import hashlib

from archc.plan.lane import Lane


class Digests:
    """CRC-32 and SHA-256 of all pieces in their order.

    SHA-256 takes longer than anything else that is done to a piece, and lets other threads run. A large piece must stay
    as it is until `finish`.
    """

    def __init__(self) -> None:
        # Same values as zlib.crc32, several times as fast. Only builds write plans: the runtime needs no isal.
        from isal.isal_zlib import crc32

        self._crc32 = crc32
        self._hash = hashlib.sha256()
        self._crc = 0
        self._lane = Lane("digest")

    def update(self, piece: memoryview) -> None:
        """Take in one more piece; no more than three are held at a time."""
        self._crc = self._crc32(piece, self._crc)
        self._lane.take(self._hash.update, piece)

    def finish(self) -> tuple[int, str]:
        """Return the CRC-32, and the SHA-256 in hexadecimal."""
        self.close()
        return self._crc, self._hash.hexdigest()

    def close(self) -> None:
        """End the thread; nothing more can be taken in."""
        self._lane.close()
