"""Changes to a tokenizer.json: special tokens, tokens around a prompt, and tokens that stand for white space."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from archc.compiler.text.definition import Part, load, replace, template
from archc.compiler.text.files import parse_object

_FIRST_SYMBOL = 0xF0000  # private use planes: characters that stand for user-defined pieces


class TokenizerJson:
    """The content of a tokenizer.json. Raises BuildError if it is damaged."""

    def __init__(self, data: bytes, place: str) -> None:
        self._place = place
        self._content: Part = parse_object(data, place)
        load(data, place)  # the parts below exist and have the types of the format
        self._model: Part = self._content["model"]
        self._added: list[Part] = self._content.get("added_tokens") or []
        vocab = self._model["vocab"]
        pieces = vocab.items() if isinstance(vocab, dict) else ((piece, i) for i, (piece, _) in enumerate(vocab))
        self._ids: dict[str, int] = dict(pieces) | {token["content"]: token["id"] for token in self._added}
        normalizers = _parts(self._content.get("normalizer"), "normalizers")
        self._symbols = {
            part["pattern"]["String"]: part["content"]
            for part in normalizers
            if part.get("type") == "Replace" and "String" in part["pattern"] and _is_symbol(part["content"])
        }

    def serialize(self) -> bytes:
        """Return the file. Raises BuildError if the library does not load it."""
        self._content["added_tokens"] = sorted(self._added, key=lambda token: token["id"])
        data = json.dumps(self._content, ensure_ascii=False).encode()
        load(data, self._place)
        return data

    def find(self, token: int | str) -> tuple[str, int] | None:
        """Return text and id of a token, by either of them; None if the tokenizer lacks it."""
        if isinstance(token, str):
            token_id = self._ids.get(self._symbols.get(token, token))
            return (token, token_id) if token_id is not None else None
        texts = {symbol: text for text, symbol in self._symbols.items()}
        name = next((name for name, token_id in self._ids.items() if token_id == token), None)
        return (texts.get(name, name), token) if name is not None else None

    def make_special(self, text: str, token_id: int) -> None:
        """Make a token special, so that it is recognized in the text of a chat template, but not in a message."""
        for token in self._added:
            if token["content"] == text:
                token["special"] = True
                return
        symbol = self._symbols.pop(text, None)
        if symbol is not None:
            self._rename(symbol, text, token_id)
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        self._added.append({"id": token_id, "content": text, **flags, "special": True})

    def adds_tokens(self) -> bool:
        """Return whether the post-processor puts tokens around a text."""
        return any(
            part.get("type") not in ("ByteLevel", "TemplateProcessing") or bool(part.get("special_tokens"))
            for part in _parts(self._content.get("post_processor"), "processors")
        )

    def surround(self, begin: Iterable[tuple[str, int]], end: Iterable[tuple[str, int]]) -> None:
        """Put tokens around each prompt, instead of those of the file."""
        former = _parts(self._content.get("post_processor"), "processors")
        parts = [part for part in former if part.get("type") == "ByteLevel"]
        self._content["post_processor"] = _joined([*parts, template(begin, end)], "processors")

    def replace_text(self, texts: Iterable[tuple[str, str]]) -> None:
        """Replace texts by tokens before everything else, and tokens by their texts after decoding, in this order."""
        pairs = list(texts)
        names = {name for _, name in pairs}
        for token in self._added:
            if token["content"] in names:
                token["normalized"] = True  # a token that is not is searched before the replacement
        normalizers = _parts(self._content.get("normalizer"), "normalizers")
        normalizers = [*(replace(text, token) for text, token in pairs), *normalizers]
        self._content["normalizer"] = _joined(normalizers, "normalizers")
        decoders = _parts(self._content.get("decoder"), "decoders")
        first = next((i for i, part in enumerate(decoders) if part.get("type") != "Replace"), len(decoders))
        decoders[first:first] = [replace(token, text) for text, token in pairs]
        self._content["decoder"] = _joined(decoders, "decoders")

    def _rename(self, symbol: str, text: str, token_id: int) -> None:
        """Give a user-defined piece its own text as name, instead of the character that stands for it."""
        vocab = self._model["vocab"]
        if isinstance(vocab, dict):
            self._model["vocab"] = {text if name == symbol else name: index for name, index in vocab.items()}
        else:
            vocab[token_id][0] = text
        self._ids[text] = self._ids.pop(symbol)
        for key, parts in (("normalizer", "normalizers"), ("decoder", "decoders")):
            others = [
                part
                for part in _parts(self._content.get(key), parts)
                if part.get("type") != "Replace" or symbol not in (part["content"], part["pattern"].get("String"))
            ]
            self._content[key] = _joined(others, parts)


def _is_symbol(text: object) -> bool:
    return isinstance(text, str) and len(text) == 1 and ord(text) >= _FIRST_SYMBOL


def _parts(part: Any, key: str) -> list[Part]:
    """Return the parts of a component: those of a sequence, the component itself, or none."""
    if part is None:
        return []
    return list(part[key]) if part.get("type") == "Sequence" else [part]


def _joined(parts: list[Part], key: str) -> Part | None:
    return {"type": "Sequence", key: parts} if len(parts) > 1 else parts[0] if parts else None
