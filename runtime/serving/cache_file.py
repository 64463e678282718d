"""Files with the state of a prompt, so that a later process computes only what follows it.

A magic number, the length of the header (8 bytes, little-endian), the header as JSON, the arrays one after another, and
the SHA-256 of all of it. A file belongs to one plan: the header has the SHA-256 of its manifest, which has those of all
entries.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from archc.runtime.errors import EngineError

MAGIC = b"archc-kv"
_MOST_HEADER = 64 << 20
_DIGEST = 32
_CHUNK = 1 << 20

Layout = Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]
"""Shape and dtype of each array by name."""


@dataclass(frozen=True)
class CachedPrompt:
    """The first tokens of a prompt, and the state after them: arrays by name."""

    tokens: tuple[int, ...]
    arrays: Mapping[str, NDArray[Any]]


class _Header(msgspec.Struct, forbid_unknown_fields=True):
    version: Literal[1]
    plan: str
    tokens: list[int]


def write_cache(path: Path, plan: str, cached: CachedPrompt) -> int:
    """Write a file in place of an older one of its kind, and return its size in bytes; `plan` is the plan's hash.

    Raises EngineError where another kind of file is, or the disk fails.
    """
    if path.exists() and not _is_cache(path):
        raise EngineError(f"{path}: exists, and is no cache of a prompt; name another file")
    header = msgspec.json.encode(_Header(1, plan, list(cached.tokens)))
    parts: list[bytes | memoryview] = [MAGIC, len(header).to_bytes(8, "little"), header]
    parts += [np.ascontiguousarray(array).reshape(-1).view(np.uint8).data for array in cached.arrays.values()]
    digest, size = hashlib.sha256(), _DIGEST
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            for part in parts:
                digest.update(part)
                size += file.write(part)
            file.write(digest.digest())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise EngineError(f"{path}: {error.strerror or error}; name another file") from None
    return size


def read_cache(path: Path, plan: str, layout: Callable[[int], Layout]) -> CachedPrompt:
    """Return the prompt of a file; `layout` has the arrays for a number of tokens, in the order of the file.

    Raises EngineError for a damaged file, or one of another plan; no array is allocated before its size is checked.
    """
    try:
        return _read(path, plan, layout)
    except OSError as error:
        raise EngineError(f"{path}: {error.strerror or error}; check the path and its permissions") from None


def _read(path: Path, plan: str, layout: Callable[[int], Layout]) -> CachedPrompt:
    if not path.exists():
        raise EngineError(f"{path}: no such file; --save-cache writes one")
    if not _is_cache(path):
        raise EngineError(f"{path}: no cache of a prompt; --save-cache writes one")
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        begin = len(MAGIC) + 8
        length = int.from_bytes(file.read(begin)[len(MAGIC) :], "little")
        if length > _MOST_HEADER or begin + length + _DIGEST > size:
            raise _damaged(path)
        try:
            header = msgspec.json.decode(file.read(length), type=_Header)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise _damaged(path) from None
        file.seek(0)
        digest, left = hashlib.sha256(), size - _DIGEST
        while left and (data := file.read(min(_CHUNK, left))):
            digest.update(data)
            left -= len(data)
        if file.read() != digest.digest():
            raise _damaged(path)
        if header.plan != plan:
            raise EngineError(f"{path}: the cache of another plan; write one with this plan and --save-cache")
        expected = layout(len(header.tokens))
        sizes = [int(np.prod(shape, dtype=object)) * dtype.itemsize for shape, dtype in expected.values()]
        if begin + length + sum(sizes) + _DIGEST != size:
            raise _damaged(path)
        file.seek(begin + length)
        arrays = {}
        for (name, (shape, dtype)), count in zip(expected.items(), sizes, strict=True):
            arrays[name] = np.frombuffer(file.read(count), dtype).reshape(shape)
        return CachedPrompt(tuple(header.tokens), arrays)


def _is_cache(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def _damaged(path: Path) -> EngineError:
    return EngineError(f"{path}: damaged; write it again with --save-cache")
