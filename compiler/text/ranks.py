"""Byte-level BPE from ranks: tiktoken's files, a token in base64 and its rank per line."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from archc.compiler.errors import BuildError
from archc.compiler.text.definition import Definition, printable_bytes
from archc.compiler.text.vocabulary import byte_level_bpe

MAX_BYTES = 64 * 2**20
_NO_RANK = 10**9
_MAX_WORK = 3e8  # sum of squared token lengths; published vocabularies have less than 1e8


def is_ranks(data: bytes) -> bool:
    """Return whether data begins with a line of tiktoken: base64, a space and a number."""
    token, space, rank = data[:4096].split(b"\n", 1)[0].strip().partition(b" ")
    return bool(space) and rank.isdigit() and _base64(token) is not None


def parse_ranks(data: bytes, place: str) -> dict[bytes, int]:
    """Return the ranks of a tiktoken file. Raises BuildError if it is damaged."""
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(data.splitlines(), 1):
        if not line:
            continue
        text, _, rank = line.partition(b" ")
        token = _base64(text)
        if token is None or not rank.isdigit() or len(rank) > 8:
            raise BuildError(f"{place}: line {number}: expected base64 and a rank, got {line!r:.60}; download it again")
        if token in ranks:
            raise BuildError(
                f"{place}: line {number}: the token of line {line!r:.60} is there twice; download it again"
            )
        ranks[token] = int(rank)
    return ranks


def _base64(text: bytes) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True) or None
    except (binascii.Error, ValueError):
        return None


def from_ranks(ranks: Mapping[bytes, int], pattern: str, place: str, offset: int = 0) -> Definition:
    """Return the tokenizer of ranks, whose ids are the ranks plus `offset`.

    Raises BuildError unless every byte is a token and the ranks are distinct.
    """
    if len(set(ranks.values())) != len(ranks):
        raise BuildError(f"{place}: two tokens have the same rank; download it again")
    lacking = next((byte for byte in range(256) if bytes([byte]) not in ranks), None)
    if lacking is not None:
        raise BuildError(f"{place}: the byte {lacking} is not a token; download it again")
    if sum(len(token) ** 2 for token in ranks) > _MAX_WORK:
        raise BuildError(f"{place}: the tokens are too long; expected a published vocabulary")
    characters = printable_bytes()
    names = {token: "".join([characters[byte] for byte in token]) for token in ranks}
    merges: list[tuple[str, str]] = []
    for token in sorted(ranks, key=ranks.__getitem__):
        if len(token) > 1:
            parts = _parts(token, ranks)
            if len(parts) == 2:
                merges.append((names[parts[0]], names[parts[1]]))
    vocab = {names[token]: rank + offset for token, rank in ranks.items()}
    # tiktoken looks a whole word up before it merges.
    return byte_level_bpe(vocab, merges, pattern, place, ignore_merges=True)


def _parts(token: bytes, ranks: Mapping[bytes, int]) -> list[bytes]:
    """Return the parts of a token before its own merge: merges of the lowest rank first, of those the leftmost."""
    bounds = list(range(len(token) + 1))
    rank_of = ranks.get
    pairs = [rank_of(token[at : at + 2], _NO_RANK) for at in range(len(token) - 1)]
    while len(pairs) > 1:
        best = min(pairs)
        if best == _NO_RANK:
            break
        at = pairs.index(best)
        del bounds[at + 1], pairs[at]
        if at > 0:
            pairs[at - 1] = rank_of(token[bounds[at - 1] : bounds[at + 1]], _NO_RANK)
        if at < len(pairs):
            pairs[at] = rank_of(token[bounds[at] : bounds[at + 2]], _NO_RANK)
    return [token[bounds[at] : bounds[at + 1]] for at in range(len(bounds) - 1)]
