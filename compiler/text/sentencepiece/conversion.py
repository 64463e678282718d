"""Sentencepiece models, BPE and unigram, converted so that every string has the ids of the library."""

from __future__ import annotations

from archc.compiler.text.definition import AddedToken, Definition, Part, placeholder, quote, replace, split
from archc.compiler.text.sentencepiece.model_proto import (
    BPE,
    BYTE,
    CONTROL,
    NORMAL,
    UNIGRAM,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    Model,
    Piece,
    parse,
)
from archc.compiler.text.sentencepiece.normalization import SPACE, normalizers

_NUL = "\0"
_SYMBOLS = 0x100000  # user-defined pieces as characters of private use plane 16


def from_bytes(data: bytes, place: str) -> Definition:
    """Return the tokenizer of a model file. Raises BuildError if it is damaged."""
    return convert_model(parse(data, place), place)


def convert_model(model: Model, place: str) -> Definition:
    """Return the tokenizer of a parsed model."""
    defined = [piece.text for piece in model.pieces if piece.kind == USER_DEFINED]
    symbols = _symbols(model, defined)
    names = [_name(piece, index, symbols) for index, piece in enumerate(model.pieces)]
    cuts: list[Part] = []
    if model.algorithm == UNIGRAM:
        vocab = [list(item) for item in zip(names, _scores(model), strict=True)]
        part: Part = {"type": "Unigram", "unk_id": model.unk_id, "vocab": vocab, "byte_fallback": model.byte_fallback}
        cuts = _cut_reserved(model)
    else:
        merges = _merges(model.pieces) if model.algorithm == BPE else []
        part = {
            "type": "BPE",
            "unk_token": model.pieces[model.unk_id].text,
            "fuse_unk": True,
            "byte_fallback": model.byte_fallback,
            "vocab": {name: index for index, name in enumerate(names)},
            "merges": merges,
        }
    definition = Definition(part, pre_tokenizers=cuts, roles=dict(model.roles))
    definition.normalizers = normalizers(model, symbols, place)
    definition.decoders = _decoders(model, symbols)
    if not symbols and model.algorithm != UNIGRAM:
        for index, piece in enumerate(model.pieces):
            if piece.kind == USER_DEFINED:
                definition.added.append(_added(index, piece.text, special=False))
    for index, piece in enumerate(model.pieces):
        if piece.kind in (CONTROL, UNKNOWN):
            definition.added.append(_added(index, piece.text, special=True))
    # The convention of llama.cpp: BOS before a BPE's prompt, EOS after a unigram model's.
    definition.begin = () if model.algorithm == UNIGRAM else ("bos_token",)
    definition.end = ("eos_token",) if model.algorithm == UNIGRAM else ()
    return definition


def _added(index: int, text: str, special: bool) -> AddedToken:
    # Matched in normalized text, because pieces have its spaces; special pieces are cut out of plain text first.
    return AddedToken(index, text, special, normalized=not special)


def _symbols(model: Model, defined: list[str]) -> dict[str, str]:
    """Return a character for each user-defined piece of a BPE whose normalization acts on the text as a whole.

    The library normalizes around a user-defined piece, and never merges it. An added token has both properties only if
    the text on each side of it is normalized alone with the same result.
    """
    if model.algorithm == UNIGRAM:
        return {}
    if not model.add_dummy_prefix and not model.remove_extra_whitespaces and not model.charsmap:
        return {}
    return {text: chr(_SYMBOLS + index) for index, text in enumerate(defined)}


def _name(piece: Piece, index: int, symbols: dict[str, str]) -> str:
    """Return the name of a piece in the vocabulary; a piece that is not matched has one that no text has.

    The library does not match pieces with the character NUL, which ends its keys.
    """
    unmatched = piece.kind == UNUSED or (piece.kind == NORMAL and _NUL in piece.text)
    return placeholder(index) if unmatched else symbols.get(piece.text, piece.text)


def _merges(pieces: list[Piece]) -> list[list[str]]:
    """Return the merges of a BPE, by the score, id and first part's length of their result."""
    normal = {piece.text for piece in pieces if piece.kind == NORMAL and _NUL not in piece.text}
    order = sorted(range(len(pieces)), key=lambda index: (-pieces[index].score, index))
    merges: list[list[str]] = []
    for index in order:
        text = pieces[index].text
        if text not in normal:
            continue
        for cut in range(1, len(text)):
            left, right = text[:cut], text[cut:]
            if left in normal and right in normal:
                merges.append([left, right])
    return merges


def _scores(model: Model) -> list[float]:
    """Return the score of each piece of a unigram model; a user-defined piece has one by its length in bytes."""
    normal = [piece.score for piece in model.pieces if piece.kind == NORMAL]
    best, worst = max(normal, default=0.0), min(normal, default=0.0)
    return [
        piece.score
        if piece.kind == NORMAL
        else max(len(piece.text.encode()) * best - 0.1, worst)
        if piece.kind == USER_DEFINED
        else 0.0
        for piece in model.pieces
    ]


def _cut_reserved(model: Model) -> list[Part]:
    """Return a pre-tokenizer that cuts reserved pieces in a text, so that a unigram model has none of them.

    Each is cut between two characters that no other piece has in a row, if there are such, and that are not both
    unknown, because unknown characters in a row are one token.
    """
    texts = {piece.text for piece in model.pieces if piece.kind in (NORMAL, USER_DEFINED)}
    reserved = [p.text for p in model.pieces if p.kind in (CONTROL, UNKNOWN, BYTE) and len(p.text) > 1]
    pairs = {text[at : at + 2] for text in reserved for at in range(len(text) - 1)}
    joined: set[str] = set()
    for text in texts:
        joined |= pairs & {text[at : at + 2] for at in range(len(text) - 1)}
    patterns: list[str] = []
    for text in reserved:
        known = [cut for cut in range(1, len(text)) if text[cut - 1] in texts or text[cut] in texts]
        at = next((cut for cut in known if text[cut - 1 : cut + 1] not in joined), 1)
        patterns.append(f"{quote(text[:at])}(?={quote(text[at:])})")
    return [split("|".join(patterns), "MergedWithPrevious")] if patterns else []


def _decoders(model: Model, symbols: dict[str, str]) -> list[Part]:
    """Return the decoders: pieces to text, bytes to characters, without the space of the dummy prefix."""
    parts = [replace(symbol, text) for text, symbol in symbols.items()]
    for index, piece in enumerate(model.pieces):
        if piece.kind == NORMAL and _NUL in piece.text:
            parts.append(replace(placeholder(index), piece.text))
    if model.escape_whitespaces:
        parts.append(replace(SPACE, " "))
    if model.byte_fallback:
        parts.append({"type": "ByteFallback"})
    parts.append({"type": "Fuse"})
    if model.add_dummy_prefix or model.remove_extra_whitespaces:
        parts.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return parts
