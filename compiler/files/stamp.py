"""Noticing that a file changed."""

from __future__ import annotations

import os
from typing import IO


def file_stamp(file: IO[bytes]) -> tuple[int, int]:
    """Return size in bytes and time of the last change of an open file."""
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns
