"""safetensors files as bytes, so that a test can make them wrong."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"


def entry(start: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, Any]:
    """One tensor's line of the header."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def raw(header: dict[str, Any], data: bytes, length: int | None = None) -> bytes:
    """A file of a header and data; `length` is what it says of the header's size."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def shards(folder: Path, weight_map: dict[str, str]) -> None:
    """An index that says which file each tensor is in."""
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}), "utf-8")
