"""The header of one GGUF file: its settings by key, and its tensors (ggml-org/ggml, docs/gguf.md, versions 2 and 3)."""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archc.archspec.errors import clip
from archc.compiler.errors import BuildError
from archc.compiler.files.stamp import file_stamp

TOKENIZER = "tokenizer."
"""The beginning of the keys of the vocabulary."""

_MAGIC, _VERSIONS = b"GGUF", (2, 3)
_MAX_KEYS, _MAX_TENSORS = 2**16, 2**18
_MAX_ITEMS = 2**22
_MAX_AXES = 8
_MAX_TEXT_BYTES = 2**24
_MAX_ALIGNMENT = 2**16
_TEXT, _ARRAY = 8, 9
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}  # of struct


@dataclass(frozen=True)
class GgufTensor:
    """A tensor: its shape, rows first, the number of its GGML type, its file, and the offset of its bytes there."""

    shape: tuple[int, ...]
    type: int
    start: int
    path: Path
    stamp: tuple[int, int]


@dataclass(frozen=True)
class GgufFile:
    """The settings of a file by key, and its tensors by name."""

    path: Path
    settings: Mapping[str, Any]
    tensors: Mapping[str, GgufTensor]


def read_header(path: Path) -> GgufFile:
    """Return the header of one GGUF file; no tensor is read. Raises BuildError if it is damaged, OSError otherwise."""
    with path.open("rb") as file:
        stamp = file_stamp(file)
        if file.read(4) != _MAGIC:
            raise BuildError(f"{path}: expected a GGUF file, got other data; download it again")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            settings, tensors = _Header(path, data).read()
    return GgufFile(
        path,
        settings,
        {name: GgufTensor(shape, number, start, path, stamp) for name, (shape, number, start) in tensors.items()},
    )


class _Header:
    """A header that is read from its start to its end."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self._path, self._data, self._at = path, data, 4
        self._items = 0

    def read(self) -> tuple[dict[str, Any], dict[str, tuple[tuple[int, ...], int, int]]]:
        """Return the settings, and shape, type and offset of each tensor."""
        version, tensors, keys = self._number("I"), self._number("Q"), self._number("Q")
        if version not in _VERSIONS:
            raise BuildError(
                f"{self._path}: GGUF version {version} is not supported, expected 2 or 3, little-endian; convert the "
                "model again with a newer llama.cpp"
            )
        if tensors > _MAX_TENSORS or keys > _MAX_KEYS:
            raise self._damaged(f"{tensors} tensors and {keys} keys")
        settings: dict[str, Any] = {}
        for _ in range(keys):
            key = self._text()
            if key in settings:
                raise self._damaged(f"the key '{clip(key)}' appears twice")
            # A name that is not UTF-8 is one that nothing reads; a token would be another one.
            settings[key] = self._value(self._number("I"), "strict" if key.startswith(TOKENIZER) else "replace")
        found: dict[str, tuple[tuple[int, ...], int, int]] = {}
        for _ in range(tensors):
            name = self._text()
            if name in found:
                raise self._damaged(f"tensor '{clip(name)}' appears twice")
            found[name] = self._tensor(name)
        start = self._data_start(settings.get("general.alignment", 32))
        return settings, {name: (shape, number, start + offset) for name, (shape, number, offset) in found.items()}

    def _tensor(self, name: str) -> tuple[tuple[int, ...], int, int]:
        """Return shape, type and offset of a tensor."""
        axes = self._number("I")
        if axes > _MAX_AXES:
            raise self._damaged(f"tensor '{clip(name)}' has {axes} axes")
        shape = tuple(self._number("Q") for _ in range(axes))[::-1]
        if math.prod(shape) >= 2**62:
            raise self._damaged(f"tensor '{clip(name)}' has the shape {list(shape)}")
        return shape, self._number("I"), self._number("Q")

    def _data_start(self, alignment: object) -> int:
        if not isinstance(alignment, int) or not 1 <= alignment <= _MAX_ALIGNMENT:
            raise self._damaged(f"general.alignment is {alignment!r:.40}")
        return -(-self._at // alignment) * alignment

    def _value(self, kind: int, errors: str) -> Any:
        if kind == _TEXT:
            return self._text(errors)
        if kind != _ARRAY:
            return self._number(self._number_type(kind))
        item, count = self._number("I"), self._number("Q")
        self._items += count
        if self._items > _MAX_ITEMS:
            raise self._damaged(f"lists of {self._items} items")
        if item == _TEXT:
            return [self._text(errors) for _ in range(count)]
        return list(self._numbers(count, self._number_type(item)))

    def _number_type(self, kind: int) -> str:
        if kind not in _NUMBERS:
            raise self._damaged(f"a value of type {kind}")
        return _NUMBERS[kind]

    def _number(self, code: str) -> Any:
        return self._numbers(1, code)[0]

    def _numbers(self, count: int, code: str) -> tuple[Any, ...]:
        return struct.unpack(f"<{count}{code}", self._take(count * struct.calcsize(f"<{code}")))

    def _text(self, errors: str = "replace") -> str:
        count = struct.unpack("<Q", self._take(8))[0]
        if count > _MAX_TEXT_BYTES:
            raise self._damaged(f"a text of {count} bytes")
        try:
            return self._take(count).decode("utf-8", errors)
        except UnicodeDecodeError as error:
            raise self._damaged(f"a text of the vocabulary is not UTF-8 at byte {error.start}") from None

    def _take(self, count: int) -> bytes:
        start = self._at
        if count > len(self._data) - start:
            raise self._damaged("it ends within its header")
        self._at = start + count
        return self._data[start : start + count]

    def _damaged(self, fault: str) -> BuildError:
        return BuildError(f"{self._path}: the GGUF header is damaged: {fault}; download it again")
