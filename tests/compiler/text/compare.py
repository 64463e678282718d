"""Comparison of a converted tokenizer with its genuine library, string by string."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tokenizers

from archc.compiler.text.definition import Definition, load, serialize
from tests.compiler.text.strings import mixture

Encode = Callable[[str], Sequence[int]]


def encoder(definition: Definition) -> Encode:
    """Return the function from a text to ids, without tokens around it, and with special tokens as plain text."""
    return plain(load(serialize(definition, (), (), "test"), "test"))


def plain(tokenizer: tokenizers.Tokenizer) -> Encode:
    """Return a tokenizer's function from a text to ids, where special tokens are plain text."""
    tokenizer.encode_special_tokens = True
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids


def differences(encode: Encode, library: Encode, texts: Sequence[str] = ()) -> list[str]:
    """Return the strings of the mixture that have other ids."""
    return [text for text in texts or mixture() if list(encode(text)) != list(library(text))]
