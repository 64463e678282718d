"""The normalization of sentencepiece as normalizers of the `tokenizers` library."""

from __future__ import annotations

from archc.compiler.text.definition import Part, replace
from archc.compiler.text.sentencepiece.charsmap import mapping
from archc.compiler.text.sentencepiece.model_proto import UNIGRAM, USER_DEFINED, Model

SPACE = "\u2581"
_HELD = 0x108000  # characters of private use plane 16


def normalizers(model: Model, symbols: dict[str, str], place: str) -> list[Part]:
    """Return the normalizers of a model in order; `symbols` are the characters of user-defined pieces."""
    space = SPACE if model.escape_whitespaces else " "
    ordered = sorted(symbols.items(), key=lambda item: -len(item[0]))
    parts = [replace(text, symbol) for text, symbol in ordered if SPACE not in text]
    if model.charsmap:
        held = _held(model)
        parts += [replace(text, character) for text, character in held]
        parts += mapping(model.charsmap, place)
        parts += [replace(character, text) for text, character in held]
    if model.remove_extra_whitespaces:
        parts += [replace(r"\A +", "", regex=True), replace(" {2,}", " ", regex=True)]
    if model.add_dummy_prefix:
        # Metaspace's own prefix is left out where a text begins with a space.
        parts.append({"type": "Prepend", "prepend": space})
    if model.escape_whitespaces:
        parts.append(replace(" ", SPACE))
    if model.remove_extra_whitespaces:
        parts.append(replace(f"{space}+\\z", "", regex=True))
    parts += [replace(text, symbol) for text, symbol in ordered if model.charsmap or SPACE in text]
    return parts


def _held(model: Model) -> list[tuple[str, str]]:
    """Return user-defined pieces of a unigram model, which the map leaves alone, with characters in their place."""
    if model.algorithm != UNIGRAM:
        return []
    defined = sorted((piece.text for piece in model.pieces if piece.kind == USER_DEFINED), key=len, reverse=True)
    return [(text, chr(_HELD + index)) for index, text in enumerate(defined)]
