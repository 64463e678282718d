"""Writing of messages in the wire format of Protocol Buffers, in which ONNX models are stored.

https://protobuf.dev/programming-guides/encoding
"""

from __future__ import annotations

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types."""


def varint(value: int) -> bytes:
    """Return a non-negative integer, seven bits a byte, the lowest first."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def number_field(number: int, value: int) -> bytes:
    """Return a field with an integer."""
    return varint(number << 3 | VARINT) + varint(value)


def bytes_field(number: int, content: bytes) -> bytes:
    """Return a field with a text, bytes or a nested message."""
    return varint(number << 3 | BYTES) + varint(len(content)) + content
