"""The vocabulary in the header of a GGUF file (ggml-org/ggml, docs/gguf.md): the keys `tokenizer.ggml.…`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from archc.compiler.errors import BuildError
from archc.compiler.files.gguf_header import TOKENIZER
from archc.compiler.files.gguf_parts import read_gguf
from archc.compiler.text.definition import AddedToken, Definition, split
from archc.compiler.text.gguf_splits import BOS_FIRST, MERGES_IGNORED, SPLITS
from archc.compiler.text.sentencepiece.conversion import convert_model
from archc.compiler.text.sentencepiece.model_proto import (
    BPE,
    BYTE,
    CONTROL,
    MAX_PIECE,
    NORMAL,
    UNIGRAM,
    UNKNOWN,
    USER_DEFINED,
    Model,
    Piece,
)
from archc.compiler.text.sentencepiece.normalization import SPACE
from archc.compiler.text.settings import TextSettings
from archc.compiler.text.vocabulary import byte_level_bpe, word_piece

_ROLES = {
    "bos": "bos",
    "eos": "eos",
    "unknown": "unk",
    "seperator": "sep",
    "padding": "pad",
    "cls": "cls",
    "mask": "mask",
}


def read_keys(path: Path) -> dict[str, Any]:
    """Return the keys `tokenizer.…` of a file's header. Raises BuildError if it is damaged."""
    settings = read_gguf(path).settings
    return {
        key.removeprefix(TOKENIZER).removeprefix("ggml."): value
        for key, value in settings.items()
        if key.startswith(TOKENIZER)
    }


def from_keys(keys: Mapping[str, Any], settings: TextSettings, place: str) -> Definition | str:
    """Return the tokenizer of a header's keys, or the reason why it cannot be converted.

    Raises BuildError if the keys are damaged.
    """
    kind = keys.get("model")
    if kind is None or "tokens" not in keys:
        return "the GGUF file has no vocabulary"
    tokens: list[str] = _list(keys, "tokens", str, place)
    kinds: list[int] = _list(keys, "token_type", int, place) if "token_type" in keys else [NORMAL] * len(tokens)
    if len(set(tokens)) != len(tokens) or len(kinds) != len(tokens) or any(len(token) > MAX_PIECE for token in tokens):
        raise BuildError(
            f"{place}: tokenizer.ggml.tokens: expected distinct texts, each with a type; download it again"
        )
    if kind in ("llama", "t5"):
        definition = _sentencepiece(keys, tokens, kinds, place)
    elif kind == "bert":
        definition = _words(tokens, kinds, place)
    elif kind == "gpt2":
        pre = keys.get("pre")
        splits = (settings.pattern,) if settings.pattern is not None else SPLITS.get(str(pre))
        if splits is None:
            return (
                f"the split pattern {str(pre)!r:.60} (tokenizer.ggml.pre) is not supported; name the tokenizer.json of "
                "the model with --tokenizer, or set text.pattern in the spec"
            )
        definition = _byte_level(keys, tokens, kinds, splits, place)
    else:
        return f"the vocabulary {str(kind)!r:.60} (tokenizer.ggml.model) is not supported"
    return _with_roles(definition, keys, tokens)


def _list(keys: Mapping[str, Any], name: str, kind: type, place: str) -> list[Any]:
    """Return a list of one type. Raises BuildError for another value."""
    values = keys.get(name)
    if not isinstance(values, list) or not all(type(value) is kind for value in values):
        raise BuildError(f"{place}: tokenizer.ggml.{name}: expected a list of {kind.__name__}; download the file again")
    return values


def _sentencepiece(keys: Mapping[str, Any], tokens: list[str], kinds: list[int], place: str) -> Definition:
    scores: list[float] = _list(keys, "scores", float, place) if "scores" in keys else [0.0] * len(tokens)
    if len(scores) != len(tokens) or not all(map(math.isfinite, scores)) or kinds.count(UNKNOWN) != 1:
        raise BuildError(f"{place}: tokenizer.ggml.scores: expected a score for each token, and one unknown token")
    charsmap: list[int] = _list(keys, "precompiled_charsmap", int, place) if "precompiled_charsmap" in keys else []
    unigram = keys["model"] == "t5"
    model = Model(
        [Piece(*piece) for piece in zip(tokens, scores, kinds, strict=True)],
        UNIGRAM if unigram else BPE,
        byte_fallback=BYTE in kinds,
        unk_id=kinds.index(UNKNOWN),
        charsmap=bytes(byte & 0xFF for byte in charsmap),
        add_dummy_prefix=keys.get("add_space_prefix") is not False,
        remove_extra_whitespaces=keys.get("remove_extra_whitespaces") is True,
        roles={},
    )
    return convert_model(model, place)


def _words(tokens: list[str], kinds: list[int], place: str) -> Definition:
    """Return a WordPiece tokenizer; in the file, the start of a word is marked instead of its continuation."""
    vocab: dict[str, int] = {}
    for index, (token, kind) in enumerate(zip(tokens, kinds, strict=True)):
        start = token.startswith(SPACE) or kind != NORMAL
        vocab[token.removeprefix(SPACE) if start else f"##{token}"] = index
    if len(vocab) != len(tokens):
        raise BuildError(f"{place}: tokenizer.ggml.tokens: two tokens have the same text; download the file again")
    return word_piece(vocab, {}, place)


def _byte_level(
    keys: Mapping[str, Any], tokens: list[str], kinds: list[int], splits: Sequence[str], place: str
) -> Definition:
    merges: list[str] = _list(keys, "merges", str, place)
    pairs = [(left, right) for left, _, right in (merge.partition(" ") for merge in merges)]
    vocab = {token: index for index, token in enumerate(tokens)}
    options = {"ignore_merges": True} if keys.get("pre") in MERGES_IGNORED else {}
    definition = byte_level_bpe(vocab, pairs, splits[-1], place, **options)
    definition.begin = ("bos_token",) if keys.get("pre") in BOS_FIRST else ()
    definition.pre_tokenizers = [*map(split, splits[:-1]), *definition.pre_tokenizers]
    for index, (token, kind) in enumerate(zip(tokens, kinds, strict=True)):
        if kind in (CONTROL, UNKNOWN, USER_DEFINED):
            definition.added.append(AddedToken(index, token, kind != USER_DEFINED))
    return definition


def _with_roles(definition: Definition, keys: Mapping[str, Any], tokens: list[str]) -> Definition:
    """Return the tokenizer with the special tokens by role, and the tokens around a prompt."""
    for name, role in _ROLES.items():
        index = keys.get(f"{name}_token_id")
        if isinstance(index, int) and 0 <= index < len(tokens):
            definition.roles[f"{role}_token"] = tokens[index]
    for side, role in (("begin", "bos"), ("end", "eos")):
        flag = keys.get(f"add_{role}_token")
        if isinstance(flag, bool) and keys["model"] != "bert":
            setattr(definition, side, (f"{role}_token",) if flag else ())
    template = keys.get("chat_template")
    definition.chat = template if isinstance(template, str) else None
    return definition
