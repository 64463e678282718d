"""Checksums computed beside the writing are those of the bytes in their order."""

from __future__ import annotations

import hashlib
import zlib

import numpy as np
import pytest

from archc.plan.digests import Digests


@pytest.mark.parametrize("sizes", [(), (0,), (3, 5), (3 << 20, 1, 2 << 20, 2 << 20, 7)])
def test_pieces_of_any_size_add_up(sizes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    pieces = [rng.bytes(size) for size in sizes]
    digests = Digests()
    for piece in pieces:
        digests.update(memoryview(piece))
    whole = b"".join(pieces)
    assert digests.finish() == (zlib.crc32(whole), hashlib.sha256(whole).hexdigest())


def test_closing_twice_is_allowed() -> None:
    digests = Digests()
    digests.update(memoryview(bytes(2 << 20)))
    digests.finish()
    digests.close()
