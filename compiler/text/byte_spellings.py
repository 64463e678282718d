"""vocab.json and merges of a byte-level BPE in other spellings of bytes than GPT-2's: told apart exactly, or refused.

A byte-level vocabulary has a token for each of the 256 bytes. No two spellings agree on all of these tokens, so at most
one fits a file.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from archc.compiler.errors import BuildError
from archc.compiler.text.definition import printable_bytes
from archc.compiler.text.files import parse_vocabulary, read_bytes, read_text

_CHARACTERS = printable_bytes()
_BYTES = {char: byte for byte, char in enumerate(_CHARACTERS)}
_HEXADECIMAL = re.compile(r"(?:[0-9a-fA-F]{2})+")
_LITERAL = re.compile(r"""b'(?:[^'\\]|\\.)*'|b"(?:[^"\\]|\\.)*\"""")
ADVICE = "write it as GPT-2 does: ids by token, a character of its table for each byte"

Decode = Callable[[object], bytes | None]
Pair = tuple[str, str]


def spelled_vocabulary(value: Mapping[str, Any], place: str) -> dict[str, int]:
    """Return ids by token in GPT-2's characters, of ids by token or tokens by id in any spelling of bytes.

    A vocabulary of ids by token in no spelling of bytes is returned as it is. Raises BuildError for a damaged one.
    """
    by_id = bool(value) and all(key.isdecimal() and not isinstance(token, int) for key, token in value.items())
    if not by_id:
        ids = parse_vocabulary(value, place)
        if ids.keys() >= set(_CHARACTERS):
            return ids
        return next((found for decode in _SPELLINGS if (found := _renamed(ids.items(), decode))), ids)
    tokens = [(token, int(key)) for key, token in value.items() if len(key) < 9]
    for decode in _SPELLINGS:
        if len(tokens) == len(value) and (found := _renamed(tokens, decode)):
            return parse_vocabulary(found, place)
    raise BuildError(f"{place}: tokens by id, in no spelling of bytes that has all 256; {ADVICE}")


def spelled_merges(path: Path, vocab: Mapping[str, int]) -> list[Pair] | None:
    """Return the pairs of merges.txt or merges.json in GPT-2's characters, or None if no spelling fits the vocabulary.

    Raises BuildError for a damaged file, and for pairs of which several fit.
    """
    rows = _rows(path) if path.suffix == ".json" else [line.rstrip("\r") for line in read_text(path).split("\n")]
    if rows and isinstance(rows[0], str) and rows[0].startswith("#version"):
        rows = rows[1:]
    rows = [row for row in rows if row]
    fitting = [pairs for decode in _SPELLINGS if (pairs := _pairs(rows, decode, vocab)) is not None]
    if len({tuple(pairs) for pairs in fitting}) > 1:
        raise BuildError(f"{path}: the tokens have several spellings that fit vocab.json; {ADVICE}")
    return fitting[0] if fitting else None


def _rows(path: Path) -> list[Any]:
    try:
        value = json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise BuildError(f"{path}: not JSON: {str(error)[:200]}; write it again") from None
    if not isinstance(value, list):
        raise BuildError(f"{path}: expected a list of pairs of tokens, got {type(value).__name__}; write it again")
    return value


def _renamed(tokens: Iterable[tuple[object, int]], decode: Decode) -> dict[str, int] | None:
    """Return ids by token in GPT-2's characters, or None unless the spelling fits all tokens, every byte among them."""
    ids: dict[str, int] = {}
    for token, index in tokens:
        data = decode(token)
        if not data or (name := _name(data)) in ids:
            return None
        ids[name] = index
    return ids if ids.keys() >= set(_CHARACTERS) else None


def _pairs(rows: list[Any], decode: Decode, vocab: Mapping[str, int]) -> list[Pair] | None:
    """Return the pair of each row, or None unless each has exactly one whose tokens are in the vocabulary."""
    pairs: list[Pair] = []
    for row in rows:
        found: set[Pair] = set()
        for left, right in _splits(row, decode):
            data = decode(left), decode(right)
            if data[0] and data[1]:
                pair = _name(data[0]), _name(data[1])
                if pair[0] in vocab and pair[1] in vocab and pair[0] + pair[1] in vocab:
                    found.add(pair)
        if len(found) != 1:
            return None
        pairs += found
    return pairs


def _splits(row: object, decode: Decode) -> list[tuple[object, object]]:
    """Return the ways to read a row as two tokens: one of a list, and one at each space of a line."""
    if isinstance(row, list):
        return [(row[0], row[1])] if len(row) == 2 else []
    if not isinstance(row, str):
        return []
    if decode is _literal:
        literals = _LITERAL.findall(row)
        return [(literals[0], literals[1])] if len(literals) == 2 else []
    return [(row[:at], row[at + 1 :]) for at in range(1, len(row) - 1) if row[at] == " "]


def _name(data: bytes) -> str:
    return "".join([_CHARACTERS[byte] for byte in data])


def _mapped(token: object) -> bytes | None:
    """Bytes of GPT-2's characters."""
    if not isinstance(token, str) or any(char not in _BYTES for char in token):
        return None
    return bytes([_BYTES[char] for char in token])


def _latin(token: object) -> bytes | None:
    """Bytes of characters up to U+00FF."""
    return token.encode("latin-1") if isinstance(token, str) and all(ord(char) < 256 for char in token) else None


def _hexadecimal(token: object) -> bytes | None:
    """Bytes of two hexadecimal digits each."""
    return bytes.fromhex(token) if isinstance(token, str) and _HEXADECIMAL.fullmatch(token) else None


def _literal(token: object) -> bytes | None:
    """Bytes of a literal of Python."""
    if not isinstance(token, str) or not _LITERAL.fullmatch(token):
        return None
    try:
        value = ast.literal_eval(token)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, bytes) else None


def _numbers(token: object) -> bytes | None:
    """Bytes of a list of numbers."""
    if not isinstance(token, list) or not all(type(byte) is int and 0 <= byte < 256 for byte in token):
        return None
    return bytes(token)


_SPELLINGS: tuple[Decode, ...] = (_mapped, _latin, _hexadecimal, _literal, _numbers)
