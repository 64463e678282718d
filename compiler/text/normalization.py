"""The normalization of sentencepiece as normalizers of the `tokenizers` library."""

from __future__ import annotations

import base64

from archc.compiler.text.definition import Part, replace
from archc.compiler.text.model_proto import Model

SPACE = "\u2581"
_PROTECTED = 0x108000  # characters of private use plane 16


def normalizers(model: Model, symbols: dict[str, str], place: str) -> list[Part]:
    """Return the normalizers of a model in order; `symbols` are the characters of user-defined pieces."""
    space = SPACE if model.escape_whitespaces else " "
    ordered = sorted(symbols.items(), key=lambda item: -len(item[0]))
    parts = [replace(text, symbol) for text, symbol in ordered]
    if model.charsmap:
        parts.append({"type": "Precompiled", "precompiled_charsmap": base64.b64encode(model.charsmap).decode()})
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
