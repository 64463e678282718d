"""Tokenizer engine of a vocabulary of byte strings, by greedy longest match."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence

from archc.runtime.errors import PlanError
from archc.runtime.text.added_tokens import AddedToken

FILE = "rwkv_vocab.txt"
END_OF_TEXT = "<|endoftext|>"  # the usual text of id 0, which the file does not list
_MAX_ID = 1 << 24
_MAX_TOKEN = 1 << 16  # bytes


class LongestMatch:
    """A vocabulary file with lines `id literal length`: each step matches the longest token at the current byte.

    `added` are special tokens; one without an id is the end of text, id 0.
    """

    def __init__(self, content: bytes, added: Sequence[AddedToken] = ()) -> None:
        self._bytes: dict[int, bytes] = {}
        self._ids: dict[bytes, int] = {}
        lengths: dict[bytes, set[int]] = {}
        for number, token, data in _entries(content):
            if token in self._bytes:
                raise _invalid(number, f"id {token} occurs twice")
            if data in self._ids:
                raise _invalid(number, f"the token of id {token} is also that of id {self._ids[data]}")
            self._bytes[token], self._ids[data] = data, token
            lengths.setdefault(data[:2], set()).add(len(data))
        for byte in range(256):
            if bytes([byte]) not in self._ids:
                raise PlanError(
                    f"tokenizer/{FILE}: expected a token for each single byte, got none for byte {byte}; download the "
                    "vocabulary again and build the plan again"
                )
        # The lengths of the tokens with the same first two bytes: far fewer objects than the nodes of a trie.
        self._lengths = {first: sorted(of_first, reverse=True) for first, of_first in lengths.items()}
        self._special = self._special_tokens(added)
        self._texts = {token: text for text, token in self._special.items()}
        longest_first = sorted(self._special, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")

    def _special_tokens(self, added: Sequence[AddedToken]) -> dict[str, int]:
        """Return the special tokens by text; a token of the vocabulary is none."""
        special: dict[str, int] = {}
        for item in added:
            token = item.id or 0
            if item.id is None and (item.text.encode() in self._ids or 0 in special.values()):
                continue
            if token not in self._bytes:
                special[item.text] = token
            elif self._bytes[token] != item.text.encode():
                raise PlanError(
                    f"tokenizer/{item.source}: id {token} of token {item.text!r} is that of {self._bytes[token]!r} in "
                    f"{FILE}; correct the checkpoint's files and build the plan again"
                )
        return special if 0 in special.values() or 0 in self._bytes else {**special, END_OF_TEXT: 0}

    @property
    def vocab_size(self) -> int:
        """Return the number of ids."""
        return max([*self._bytes, *self._texts], default=-1) + 1

    @property
    def special(self) -> Mapping[str, int]:
        """Return the id of each special token by its text."""
        return self._special

    def encode(self, text: str, add_special_tokens: bool, parse_special: bool) -> list[int]:
        """Return the ids of `text`; special tokens in it are plain text unless `parse_special`."""
        spans = [match.span() for match in self._pattern.finditer(text)] if parse_special else []
        return self.encode_marked(text, spans)

    def encode_marked(self, text: str, spans: Sequence[tuple[int, int]]) -> list[int]:
        """Return the ids of `text` with special tokens at exactly the character ranges `spans`, in their order."""
        ids, end = list[int](), 0
        for first, last in spans:
            ids += [*self._match(text[end:first].encode()), self._special[text[first:last]]]
            end = last
        return [*ids, *self._match(text[end:].encode())]

    def decode(self, ids: Sequence[int], skip_special_tokens: bool) -> str:
        """Return the text of `ids`; ids without a token have none, and invalid UTF-8 becomes U+FFFD."""
        texts = {} if skip_special_tokens else self._texts
        data = (self._bytes.get(token) or texts.get(token, "").encode() for token in ids)
        return b"".join(data).decode(errors="replace")

    def _match(self, data: bytes) -> Iterator[int]:
        at = 0
        while at < len(data):
            for length in self._lengths.get(data[at : at + 2], ()):
                token = self._ids.get(data[at : at + length])
                if token is not None and length > 1:
                    break
            else:
                token, length = self._ids[data[at : at + 1]], 1
            yield token
            at += length


def _entries(content: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield number, id and bytes of each line; raise PlanError for an invalid line."""
    try:
        lines = content.decode().split("\n")
    except UnicodeDecodeError as error:
        raise PlanError(f"tokenizer/{FILE} is not UTF-8: {error}; build the plan again") from None
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield (number, *_entry(number, line.rstrip("\r")))


def _entry(number: int, line: str) -> tuple[int, bytes]:
    match = re.fullmatch(r"(\d{1,9}) (.+) (\d{1,9})", line)
    if match is None:
        raise _invalid(number, "expected `id literal length`")
    try:
        literal = ast.literal_eval(match[2].strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        literal = None
    if not isinstance(literal, str | bytes):
        raise _invalid(number, f"expected a literal of text or bytes, got {match[2]:.80}")
    try:
        data = literal.encode() if isinstance(literal, str) else literal
    except UnicodeEncodeError:
        raise _invalid(number, "the literal has a lone surrogate") from None
    if not 0 < len(data) == int(match[3]) <= _MAX_TOKEN:
        raise _invalid(number, f"expected a token of {match[3]} bytes (1 to {_MAX_TOKEN}), got {len(data)}")
    if int(match[1]) >= _MAX_ID:
        raise _invalid(number, f"expected an id below {_MAX_ID}, got {match[1]}")
    return int(match[1]), data


def _invalid(number: int, problem: str) -> PlanError:
    return PlanError(f"tokenizer/{FILE}, line {number}: {problem}; download the vocabulary and build the plan again")
