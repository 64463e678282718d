"""The wire format of Protocol Buffers: fields of a message as numbers and bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from archc.compiler.errors import BuildError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def fields(data: bytes, place: str) -> Iterator[tuple[int, int, int | bytes]]:
    """Yield number, wire type and value of each field of a message. Raises BuildError if it is damaged.

    A fixed-size value is yielded as its bytes.
    """
    at = 0
    while at < len(data):
        key, at = _varint(data, at, place)
        number, kind = key >> 3, key & 7
        value: int | bytes
        if kind == VARINT:
            value, at = _varint(data, at, place)
        elif kind in (FIXED64, FIXED32, BYTES):
            size = 8 if kind == FIXED64 else 4
            if kind == BYTES:
                size, at = _varint(data, at, place)
            value = data[at : at + size]
            at += size
            if len(value) != size:
                raise BuildError(f"{place}: a field at byte {at - size} exceeds the file; download it again")
        else:
            raise BuildError(f"{place}: wire type {kind} at byte {at} is not supported; download the file again")
        if number == 0:
            raise BuildError(f"{place}: a field at byte {at} has the number 0; download the file again")
        yield number, kind, value


def _varint(data: bytes, at: int, place: str) -> tuple[int, int]:
    """Return an integer of seven bits a byte, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise BuildError(f"{place}: the file ends inside a number; download it again")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (1 << 64) - 1, at
    raise BuildError(f"{place}: a number at byte {at - 10} has more than ten bytes; download the file again")


def float32(value: int | bytes, place: str) -> float:
    """Return a float of four bytes."""
    if not isinstance(value, bytes) or len(value) != 4:
        raise BuildError(f"{place}: expected a float of four bytes; download the file again")
    number: float = struct.unpack("<f", value)[0]
    return number


def integer(value: int | bytes, place: str) -> int:
    """Return a varint as a signed 32-bit integer."""
    if not isinstance(value, int):
        raise BuildError(f"{place}: expected an integer; download the file again")
    low = value & 0xFFFFFFFF
    return low - (1 << 32) if low >> 31 else low


def message(value: int | bytes, place: str) -> bytes:
    """Return the bytes of a string or of a nested message."""
    if not isinstance(value, bytes):
        raise BuildError(f"{place}: expected bytes; download the file again")
    return value


def string(value: int | bytes, place: str) -> str:
    """Return a string. Raises BuildError if it is not UTF-8."""
    try:
        return message(value, place).decode()
    except UnicodeDecodeError:
        raise BuildError(f"{place}: a piece is not UTF-8; download the file again") from None
