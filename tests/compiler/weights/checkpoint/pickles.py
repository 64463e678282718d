"""Pickles written by hand, opcode by opcode, in the container of torch.save."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from pathlib import Path

BIN, BIN_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"


def text(value: str) -> bytes:
    """BINUNICODE."""
    data = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def integer(value: int) -> bytes:
    """LONG1."""
    data = value.to_bytes(16, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def name(full: str) -> bytes:
    """GLOBAL."""
    module, _, attribute = full.rpartition(".")
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


def numbers(values: tuple[int, ...]) -> bytes:
    """A tuple of integers."""
    return b"(" + b"".join(map(integer, values)) + b"t"


def storage(key: str = "0", kind: str = "torch.FloatStorage", count: int = 6) -> bytes:
    """A persistent id that names a storage."""
    return b"(" + text("storage") + name(kind) + text(key) + text("cpu") + integer(count) + b"tQ"


def tensor(
    of: bytes | None = None, offset: int = 0, shape: tuple[int, ...] = (2, 3), stride: tuple[int, ...] = (3, 1)
) -> bytes:
    """A call of _rebuild_tensor_v2."""
    arguments = (storage() if of is None else of) + integer(offset) + numbers(shape) + numbers(stride)
    return name("torch._utils._rebuild_tensor_v2") + b"(" + arguments + b"\x89" + b"}" + b"tR"


def table(**values: bytes) -> bytes:
    """A pickle of one table."""
    return b"\x80\x02}(" + b"".join(text(key) + value for key, value in values.items()) + b"u."


def archive(pickle: bytes, data: bytes = bytes(24), method: int = zipfile.ZIP_STORED, **more: bytes) -> bytes:
    """A ZIP file as of torch.save, with one storage `0`."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as members:
        members.writestr("archive/data.pkl", pickle)
        members.writestr("archive/data/0", data)
        for member, content in more.items():
            members.writestr(f"archive/{member}", content)
    return file.getvalue()


def legacy(pickle: bytes, data: bytes = bytes(24), count: int = 6, system: bytes = b"\x88", keys: str = "0") -> bytes:
    """A file as of torch.save before 1.6, with one storage `0`."""
    magic = 0x1950A86A20F9469CFC6C
    head = b"\x80\x02" + integer(magic) + b"." + b"\x80\x02M\xe9\x03."
    info = b"\x80\x02}" + text("little_endian") + system + b"s."
    return head + info + pickle + b"\x80\x02](" + text(keys) + b"e." + struct.pack("<q", count) + data


def shards(folder: Path, weight_map: dict[str, str]) -> None:
    """An index that says which file each tensor is in."""
    (folder / BIN_INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}), "utf-8")
