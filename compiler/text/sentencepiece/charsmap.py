"""The character map of sentencepiece: a double-array trie of strings, of which the longest at each place is replaced.

The library's `Precompiled` normalizer looks up grapheme clusters instead, and of each the shortest string in the trie.
It agrees with sentencepiece on single characters, so strings of several are composed by other normalizers here.
"""

from __future__ import annotations

import base64
import functools
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from archc.compiler.errors import BuildError
from archc.compiler.text.definition import Part, quote, replace

# Separators in private use plane 16: between units that are replaced, and between characters of one unit.
_BETWEEN, _INSIDE = "\U0010fffd", "\U0010fffc"
_BYTES = np.arange(256, dtype=np.uint32)
_MAX_NODES = 200_000  # the largest published map has 20,000
_MAX_EXCEPTIONS = 1000
_HELD = 0x10F000  # private use characters in place of the exceptions' values
_LAST = 0x30000  # no character from here on has a decomposition


@dataclass(eq=False)
class Node:
    """A node of the trie by characters: the value of the string that ends here, and the nodes after it."""

    value: str | None = None
    following: dict[str, Node] = field(default_factory=dict)


class Trie:
    """The trie of a character map, by characters. Raises BuildError if it is damaged."""

    def __init__(self, charsmap: bytes, place: str) -> None:
        self._place = f"{place}: normalizer_spec"
        size = int.from_bytes(charsmap[:4], "little")
        if size % 4 or size < 4 or 4 + size > len(charsmap):
            raise self._damaged()
        self._units = np.frombuffer(charsmap, "<u4", size // 4, 4)
        self._values = charsmap[4 + size :]
        self._nodes: dict[int, Node] = {}
        self._open: set[int] = set()
        self.root = self._node(0, 0)

    def _damaged(self) -> BuildError:
        return BuildError(f"{self._place}: the character map is damaged; download the file again")

    def _node(self, position: int, depth: int) -> Node:
        """Return the node at a position of the array; equal ends of strings share one."""
        if position in self._nodes:
            return self._nodes[position]
        if depth > 16 or len(self._nodes) > _MAX_NODES:
            raise self._damaged()
        node = self._nodes[position] = Node()
        unit = int(self._units[position])
        if depth and unit >> 8 & 1:
            node.value = self._value(position ^ _offset(unit))
        for text, end in self._characters(position, b""):
            node.following[text] = self._node(end, depth + 1)
        return node

    def _characters(self, position: int, prefix: bytes) -> Iterator[tuple[str, int]]:
        """Yield the characters that follow a position, with their own positions."""
        children = (position ^ _offset(int(self._units[position]))) ^ _BYTES
        inside = children[children < len(self._units)]
        units = self._units[inside]
        labels = units & np.uint32((1 << 31) | 0xFF)
        matching = labels == (inside ^ np.uint32(position ^ _offset(int(self._units[position]))))
        for child in inside[matching & (labels != 0)].tolist():
            text = prefix + bytes([int(self._units[child]) & 0xFF])
            if len(text) < _length(text[0]):
                yield from self._characters(child, text)
                continue
            try:
                yield text.decode(), child
            except UnicodeDecodeError:
                raise self._damaged() from None

    def _value(self, position: int) -> str:
        if position >= len(self._units):
            raise self._damaged()
        start = int(self._units[position]) & 0x7FFFFFFF
        end = self._values.find(b"\0", start)
        if end < 0 or start > len(self._values):
            raise self._damaged()
        try:
            return self._values[start:end].decode()
        except UnicodeDecodeError:
            raise self._damaged() from None


def _offset(unit: int) -> int:
    """Return the offset of a unit to its children (darts-clone)."""
    return unit >> 10 << ((unit & 1 << 9) >> 6)


def _length(first: int) -> int:
    """Return the number of bytes of a character by its first byte in UTF-8."""
    return 1 if first < 0xC0 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4


@functools.lru_cache(maxsize=2)
def mapping(charsmap: bytes, place: str) -> tuple[Part, ...]:
    """Return the normalizers of a character map, exact for every string if the map is one of the trainer's.

    The map of a string is then the canonical composition (NFC) of the maps of its characters, with some exceptions. A
    map with more than a thousand exceptions is that of `Precompiled` alone. Raises BuildError if the map is damaged.
    """
    trie = Trie(charsmap, place)
    precompiled = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(charsmap).decode()}
    root = trie.root.following
    exceptions = _exceptions(root)
    if len(exceptions) > _MAX_EXCEPTIONS:
        return (precompiled,)
    several = {text: node for text, node in root.items() if node.following}
    unit = "(?m:.)"
    if several:
        second = {text for node in several.values() for text in node.following}
        unit = f"(?>(?=(?m:.){_class(second)})(?:{_alternatives(several)})|{unit})"
    held = {value: chr(_HELD + index) for index, value in enumerate(exceptions)}
    return (
        # \K leaves the unit out of the match: a separator is put after it.
        replace(f"{unit}\\K", _BETWEEN, regex=True),
        *(replace(_whole(texts), held[value], regex=True) for value, texts in exceptions.items()),
        replace(f"(?<=[^{_BETWEEN}])(?=[^{_BETWEEN}])", _INSIDE, regex=True),
        precompiled,
        replace(_INSIDE, ""),
        {"type": "NFC"},
        replace(_BETWEEN, ""),
        *(replace(character, value) for value, character in held.items()),
    )


def _whole(texts: list[str]) -> str:
    """Return a regular expression of units, between separators or the ends of a text."""
    return f"(?<![^{_BETWEEN}])(?:{'|'.join(map(quote, texts))})(?={_BETWEEN})"


def _exceptions(root: dict[str, Node]) -> dict[str, list[str]]:
    """Return the strings whose map is not the NFC of the maps of their characters, by their map."""
    single = {text: node.value for text, node in root.items() if node.value is not None}
    exceptions: dict[str, list[str]] = {}

    def collect(node: Node, text: str, maps: str) -> None:
        if node.value is not None and unicodedata.normalize("NFC", maps) != node.value:
            exceptions.setdefault(node.value, []).append(text)
        for char, after in node.following.items():
            collect(after, text + char, maps + single.get(char, char))

    for char, node in root.items():
        collect(node, char, single.get(char, char))
    for code in range(_LAST):
        char = chr(code)
        if not unicodedata.is_normalized("NFC", char) and char not in single:
            exceptions.setdefault(char, []).append(char)
    return exceptions


def _alternatives(following: dict[str, Node]) -> str:
    """Return a regular expression of the strings from here on, the longest first; characters alike are one class."""
    groups: dict[str, list[str]] = {}
    seen: dict[int, str] = {}
    for text, node in following.items():
        if id(node) not in seen:
            seen[id(node)] = _tail(node)
        groups.setdefault(seen[id(node)], []).append(text)
    return "|".join(f"{_class(texts)}{tail}" for tail, texts in groups.items())


def _tail(node: Node) -> str:
    if not node.following:
        return ""
    return f"(?:{_alternatives(node.following)})" + ("?" if node.value is not None else "")


def _class(texts: list[str] | set[str]) -> str:
    """Return a class of characters, with ranges."""
    codes = sorted(map(ord, texts))
    ranges: list[list[int]] = []
    for code in codes:
        if ranges and code == ranges[-1][1] + 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "[" + "".join(quote(chr(low)) + (f"-{quote(chr(high))}" if high > low else "") for low, high in ranges) + "]"
