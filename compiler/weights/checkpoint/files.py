"""Reading ranges of a file."""

from __future__ import annotations

from io import FileIO

from torch import Tensor


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
