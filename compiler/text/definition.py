"""The parts of a tokenizer.json, assembled from a vocabulary and serialized for the `tokenizers` library."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import tokenizers

from archc.compiler.errors import BuildError

Part = dict[str, Any]


@dataclass(frozen=True)
class AddedToken:
    """A token outside the algorithm of a vocabulary; a special one is not matched in plain text."""

    id: int
    content: str
    special: bool = True
    lstrip: bool = False
    rstrip: bool = False
    single_word: bool = False
    normalized: bool = False


@dataclass
class Definition:
    """The parts of a tokenizer.json; `roles` has the tokens of a vocabulary by name, such as `bos_token`.

    `byte_level` is the post-processor of a byte-level BPE. `begin` and `end` are roles that surround a prompt if the
    checkpoint's files leave it open; `chat` is a chat template.
    """

    model: Part
    normalizers: list[Part] = field(default_factory=list)
    pre_tokenizers: list[Part] = field(default_factory=list)
    decoders: list[Part] = field(default_factory=list)
    byte_level: bool = False
    added: list[AddedToken] = field(default_factory=list)
    roles: dict[str, str] = field(default_factory=dict)
    begin: tuple[str, ...] = ()
    end: tuple[str, ...] = ()
    chat: str | None = None

    def pieces(self) -> dict[str, int]:
        """Return the ids of all pieces and added tokens."""
        vocab = self.model["vocab"]
        ids = dict(vocab) if isinstance(vocab, dict) else {piece: index for index, (piece, _) in enumerate(vocab)}
        return ids | {token.content: token.id for token in self.added}

    def size(self) -> int:
        """Return the largest id plus one."""
        return max(self.pieces().values(), default=-1) + 1


def byte_level(regex: bool = False) -> Part:
    """Return the pre-tokenizer that maps bytes to printable characters."""
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": regex}


def printable_bytes() -> list[str]:
    """Return the character of each byte in a byte-level vocabulary (GPT-2): itself if printable, or one from 256 on."""
    plain = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) if byte in plain else chr(256 + others.index(byte)) for byte in range(256)]


def split(pattern: str, behavior: str = "Isolated") -> Part:
    """Return the pre-tokenizer that splits by a regular expression."""
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": False}


def quote(text: str) -> str:
    """Return a regular expression of the library that matches a text."""
    return "".join(char if char.isalnum() or char == "_" else f"\\x{{{ord(char):x}}}" for char in text)


def replace(pattern: str, content: str, regex: bool = False) -> Part:
    """Return the normalizer, or decoder, that replaces a string or a regular expression."""
    return {"type": "Replace", "pattern": {"Regex" if regex else "String": pattern}, "content": content}


def sequence(parts: list[Part], key: str) -> Part | None:
    """Return one part for several in a row, or None for none."""
    return None if not parts else parts[0] if len(parts) == 1 else {"type": "Sequence", key: parts}


def template(begin: Iterable[tuple[str, int]], end: Iterable[tuple[str, int]]) -> Part:
    """Return the post-processor that puts tokens around a text."""
    before, after = list(begin), list(end)

    def special(tokens: list[tuple[str, int]], segment: int) -> list[Part]:
        return [{"SpecialToken": {"id": token, "type_id": segment}} for token, _ in tokens]

    first = [*special(before, 0), {"Sequence": {"id": "A", "type_id": 0}}, *special(after, 0)]
    second = [{"Sequence": {"id": "B", "type_id": 1}}, *special(after, 1)]
    return {
        "type": "TemplateProcessing",
        "single": first,
        "pair": [*first, *second],
        "special_tokens": {
            token: {"id": token, "ids": [index], "tokens": [token]} for token, index in (*before, *after)
        },
    }


def serialize(
    definition: Definition, begin: Iterable[tuple[str, int]], end: Iterable[tuple[str, int]], place: str
) -> bytes:
    """Return tokenizer.json. Raises BuildError if the library does not load it with the same ids."""
    begin, end = list(begin), list(end)
    _place_added(definition)
    processors: list[Part] = [byte_level()] if definition.byte_level else []
    if begin or end:
        processors.append(template(begin, end))
    text = json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [vars(token) for token in sorted(definition.added, key=lambda token: token.id)],
            "normalizer": sequence(definition.normalizers, "normalizers"),
            "pre_tokenizer": sequence(definition.pre_tokenizers, "pretokenizers"),
            "post_processor": sequence(processors, "processors"),
            "decoder": sequence(definition.decoders, "decoders"),
            "model": definition.model,
        },
        ensure_ascii=False,
    )
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise BuildError(f"{place}: a token has a lone surrogate; download the file again") from None
    tokenizer = load(data, place)
    for token in definition.added:
        if tokenizer.token_to_id(token.content) != token.id:
            raise BuildError(
                f"{place}: the token {token.content!r:.60} has the id {token.id}, which another token has; correct it"
            )
    return data


def load(data: bytes, place: str) -> tokenizers.Tokenizer:
    """Return the library's tokenizer of a tokenizer.json. Raises BuildError if the library refuses it."""
    try:
        tokenizer: tokenizers.Tokenizer = tokenizers.Tokenizer.from_buffer(data)
    except BaseException as error:
        # A panic of the library is a BaseException of its own.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise BuildError(f"{place}: the tokenizer is damaged: {str(error)[:200]}; download it again") from None
    return tokenizer


def _place_added(definition: Definition) -> None:
    """Give the model's vocabulary the added tokens whose ids do not follow it, or replace one of its pieces.

    The library numbers the added tokens that its vocabulary lacks from the vocabulary's size.
    """
    vocab = definition.model["vocab"]
    names: dict[int, str] = (
        {index: piece for piece, index in vocab.items()}
        if isinstance(vocab, dict)
        else {index: piece for index, (piece, _) in enumerate(vocab)}
    )
    size = len(names)
    dense = max(names, default=-1) == size - 1
    free = {token.id for token in definition.added if token.id not in names}
    if dense and free == set(range(size, size + len(free))):
        inside = [token for token in definition.added if token.id < size]
    else:
        inside = definition.added
    renamed: dict[str, int] = {token.content: token.id for token in inside if names.get(token.id) != token.content}
    if not renamed:
        return
    if isinstance(vocab, dict):
        _rename_in_dict(definition, vocab, names, renamed)
    else:
        _rename_in_list(vocab, renamed)


def _rename_in_dict(
    definition: Definition, vocab: dict[str, int], names: Mapping[int, str], new: Mapping[str, int]
) -> None:
    gone = {names[index] for index in new.values() if index in names}
    for piece in gone:
        del vocab[piece]
    vocab.update(new)
    if gone and "merges" in definition.model:
        merges = definition.model["merges"]
        definition.model["merges"] = [pair for pair in merges if not gone & {pair[0], pair[1], pair[0] + pair[1]}]


def _rename_in_list(vocab: list[tuple[str, float]], new: Mapping[str, int]) -> None:
    vocab.extend((placeholder(index), 0.0) for index in range(len(vocab), max(new.values()) + 1))
    for piece, index in new.items():
        vocab[index] = (piece, 0.0)


def placeholder(index: int) -> str:
    """Return the name of an id without a piece: a string of a noncharacter, which is in no text."""
    return f"\U0010ffff{index}"
