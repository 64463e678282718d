"""The model file of sentencepiece: pieces, kind of segmentation and normalization (sentencepiece_model.proto)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from archc.compiler.errors import BuildError
from archc.compiler.text.sentencepiece import wire

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
UNIGRAM, BPE, WORD, CHARACTER = 1, 2, 3, 4
MAX_PIECE = 512  # characters; the library's trainer makes pieces of at most 16 by default


@dataclass(frozen=True)
class Piece:
    """A piece of the vocabulary; its id is its place."""

    text: str
    score: float = 0.0
    kind: int = NORMAL


@dataclass
class Model:
    """A model of sentencepiece, with the defaults of its messages."""

    pieces: list[Piece] = field(default_factory=list)
    algorithm: int = UNIGRAM
    byte_fallback: bool = False
    whitespace_as_suffix: bool = False
    unk_id: int = 0
    charsmap: bytes = b""
    add_dummy_prefix: bool = True
    remove_extra_whitespaces: bool = True
    escape_whitespaces: bool = True
    # The library finds special pieces by name, not by the ids that the message also has.
    roles: dict[str, str] = field(
        default_factory=lambda: {
            "unk_token": "<unk>",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "pad_token": "<pad>",
        }
    )


def is_model(data: bytes) -> bool:
    """Return whether data begins like a model file: with a piece, the first field of its message."""
    return data[:1] == b"\x0a"


def parse(data: bytes, place: str) -> Model:
    """Return the model of a file. Raises BuildError if it is damaged."""
    model = Model()
    for number, _, value in wire.fields(data, place):
        if number == 1:
            model.pieces.append(_piece(wire.message(value, place), f"{place}: piece {len(model.pieces)}"))
        elif number == 2:
            _trainer(wire.message(value, place), model, place)
        elif number == 3:
            _normalizer(wire.message(value, place), model, place)
    _check(model, place)
    return model


def _piece(data: bytes, place: str) -> Piece:
    text, score, kind = "", 0.0, NORMAL
    for number, _, value in wire.fields(data, place):
        if number == 1:
            text = wire.string(value, place)
        elif number == 2:
            score = wire.float32(value, place)
        elif number == 3:
            kind = wire.integer(value, place)
    if not text or not math.isfinite(score) or kind not in range(NORMAL, BYTE + 1) or len(text) > MAX_PIECE:
        raise BuildError(f"{place}: not a piece of a sentencepiece model: {text!r:.60}; download the file again")
    return Piece(text, score, kind)


def _trainer(data: bytes, model: Model, place: str) -> None:
    for number, _, value in wire.fields(data, place):
        if number == 3:
            model.algorithm = wire.integer(value, place)
        elif number == 24:
            model.whitespace_as_suffix = wire.integer(value, place) != 0
        elif number == 35:
            model.byte_fallback = wire.integer(value, place) != 0
        elif 45 <= number <= 48:
            role = ("unk_token", "bos_token", "eos_token", "pad_token")[number - 45]
            model.roles[role] = wire.string(value, place)


def _normalizer(data: bytes, model: Model, place: str) -> None:
    for number, _, value in wire.fields(data, place):
        if number == 2:
            model.charsmap = wire.message(value, place)
        elif number == 3:
            model.add_dummy_prefix = wire.integer(value, place) != 0
        elif number == 4:
            model.remove_extra_whitespaces = wire.integer(value, place) != 0
        elif number == 5:
            model.escape_whitespaces = wire.integer(value, place) != 0


def _check(model: Model, place: str) -> None:
    if not model.pieces:
        raise BuildError(f"{place}: no pieces found; expected a sentencepiece model")
    if len({piece.text for piece in model.pieces}) != len(model.pieces):
        raise BuildError(f"{place}: two pieces have the same text; download the file again")
    unknown = [index for index, piece in enumerate(model.pieces) if piece.kind == UNKNOWN]
    if len(unknown) != 1:
        raise BuildError(f"{place}: expected one unknown piece, got {len(unknown)}; download the file again")
    model.unk_id = unknown[0]
    if model.algorithm not in (UNIGRAM, BPE, CHARACTER):
        raise BuildError(f"{place}: model type {model.algorithm} is not supported; expected unigram, BPE or char")
    if model.whitespace_as_suffix:
        raise BuildError(f"{place}: whitespace as a suffix is not supported; use a model with whitespace as a prefix")
    present = {piece.text for piece in model.pieces if piece.kind in (CONTROL, UNKNOWN, USER_DEFINED)}
    model.roles = {role: name for role, name in model.roles.items() if name in present}
