"""Tokenizer files of a checkpoint folder, read with limits of size, and their JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from archc.compiler.errors import BuildError

MAX_BYTES = 256 * 2**20


def read_bytes(path: Path, limit: int | None = None) -> bytes:
    """Return the content of a file. Raises BuildError if it has more than `limit` bytes, by default MAX_BYTES."""
    size, limit = path.stat().st_size, MAX_BYTES if limit is None else limit
    if size > limit:
        raise BuildError(f"{path}: {size} bytes, expected a tokenizer file of at most {limit}; download it again")
    return path.read_bytes()


def read_text(path: Path) -> str:
    """Return the text of a file. Raises BuildError if it is not UTF-8."""
    try:
        return read_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise BuildError(f"{path}: not UTF-8 at byte {error.start}; download it again") from None


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object of a file, or an empty one without a file. Raises BuildError if it is damaged."""
    return parse_object(read_bytes(path), str(path)) if path.is_file() else {}


def parse_object(data: bytes, place: str) -> dict[str, Any]:
    """Return a JSON object. Raises BuildError if the text is not one."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BuildError(f"{place}: not JSON: {str(error)[:200]}; download it again") from None
    if not isinstance(value, dict):
        raise BuildError(f"{place}: expected a JSON object, got {type(value).__name__}; download it again")
    return value


def parse_vocabulary(value: object, place: str) -> dict[str, int]:
    """Return a vocabulary of ids by token. Raises BuildError unless ids are distinct and start from 0."""
    if not isinstance(value, dict):
        raise BuildError(f"{place}: expected an object of ids by token, got {type(value).__name__}; download it again")
    for token, index in value.items():
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < 2**24:
            raise BuildError(f"{place}: token {token!r:.60}: expected an id, got {index!r:.60}; download it again")
    if len(set(value.values())) != len(value):
        raise BuildError(f"{place}: two tokens have the same id; download it again")
    return value
