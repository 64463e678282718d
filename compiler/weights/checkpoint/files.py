"""Reading ranges of a file, and noticing that it changed."""

from __future__ import annotations

import os
from io import FileIO
from typing import IO

from torch import Tensor


def file_stamp(file: IO[bytes]) -> tuple[int, int]:
    """Return size in bytes and time of the last change of an open file."""
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


def read_into(file: FileIO, offset: int, buffer: Tensor) -> None:
    """Fill a tensor of bytes from a file. Raises OSError if the file ends before it is full."""
    file.seek(offset)
    memory = buffer.numpy().data
    done = 0
    while done < len(memory):
        count = file.readinto(memory[done:])
        if not count:
            raise OSError("the file ends early")
        done += count
