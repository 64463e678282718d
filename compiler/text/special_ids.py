"""Special tokens of a checkpoint's JSON files: their ids and flags, and the tokens around each prompt."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from archc.compiler.errors import BuildError
from archc.compiler.text.definition import AddedToken, Definition, template
from archc.compiler.text.files import parse_object, parse_vocabulary, read_object
from archc.compiler.text.settings import TextSettings

ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_MOST_EXTRA_IDS = 10_000
_FLAGS = ("lstrip", "rstrip", "single_word", "normalized")


def read_roles(folder: Path) -> dict[str, str]:
    """Return the special tokens by role of special_tokens_map.json and tokenizer_config.json."""
    files = read_object(folder / "special_tokens_map.json") | read_object(folder / "tokenizer_config.json")
    names = {role: content(files.get(role)) for role in ROLES}
    return {role: name for role, name in names.items() if name}


def content(token: object) -> str | None:
    """Return the text of a token: a string, or the `content` of an object."""
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else None


def add_special(definition: Definition, folder: Path, settings: TextSettings) -> None:
    """Add the special tokens of the folder's files and of the settings to a tokenizer.

    Ids come from added_tokens_decoder, added_tokens.json or the vocabulary; other tokens follow the vocabulary.
    """
    config = read_object(folder / "tokenizer_config.json")
    mapped = read_object(folder / "special_tokens_map.json")
    tokens: dict[str, AddedToken] = {token.content: token for token in definition.added}
    taken = {token.id: token.content for token in definition.added}
    for token in _numbered(config, folder):
        former = taken.get(token.id)
        if former is not None and former != token.content:
            del tokens[former]
        tokens[token.content] = token
        taken[token.id] = token.content
    ids = definition.pieces() | {token.content: token.id for token in tokens.values()}
    following = max(ids.values(), default=-1) + 1

    def add(token: object, special: bool = True) -> None:
        nonlocal following
        name = content(token)
        if not name or name in tokens:
            return
        flags = {flag: token.get(flag) is True for flag in _FLAGS} if isinstance(token, dict) else {}
        index = ids.get(name, following)
        following = max(following, index + 1)
        tokens[name] = AddedToken(index, name, special, **flags)

    for name in settings.after_vocabulary:
        add(name)
    for number in reversed(range(_extra_ids(config, mapped))):
        add({"content": f"<extra_id_{number}>", "lstrip": True, "rstrip": True})
    for role in ROLES:
        add(config.get(role) or mapped.get(role))
    for values in (mapped, config):
        extra = values.get("additional_special_tokens")
        for token in extra if isinstance(extra, list) else ():
            add(token)
    for name in definition.roles.values():
        add(name)
    definition.added = list(tokens.values())


def _extra_ids(config: Mapping[str, Any], mapped: Mapping[str, Any]) -> int:
    """Return the number of T5's sentinels, whose ids follow a sentencepiece vocabulary, the first with the largest id.

    It is `extra_ids` of tokenizer_config.json, or without it the number of sentinels among the additional tokens.
    """
    count = config.get("extra_ids")
    if isinstance(count, int) and not isinstance(count, bool):
        return max(0, min(count, _MOST_EXTRA_IDS))
    lists = [values.get("additional_special_tokens") for values in (mapped, config)]
    names = {content(token) for tokens in lists if isinstance(tokens, list) for token in tokens}
    number = 0
    while f"<extra_id_{number}>" in names:
        number += 1
    return number


def _numbered(config: Mapping[str, Any], folder: Path) -> Iterable[AddedToken]:
    """Yield the tokens whose ids the files state."""
    known: set[str] = set()
    decoder = config.get("added_tokens_decoder")
    for key, value in decoder.items() if isinstance(decoder, dict) else ():
        name = content(value)
        if not str(key).isdecimal() or len(str(key)) > 8 or not name or not isinstance(value, dict):
            raise BuildError(
                f"{folder / 'tokenizer_config.json'}: added_tokens_decoder: expected tokens by id, got {key!r:.40}; "
                "correct it"
            )
        known.add(name)
        flags = {flag: value.get(flag) is True for flag in _FLAGS}
        yield AddedToken(int(key), name, value.get("special") is not False, **flags)
    path = folder / "added_tokens.json"
    mapped = read_object(folder / "special_tokens_map.json")
    extra = [config.get("additional_special_tokens"), mapped.get("additional_special_tokens")]
    named = {content(values.get(role)) for values in (config, mapped) for role in ROLES}
    named |= {content(token) for tokens in extra if isinstance(tokens, list) for token in tokens}
    for name, index in parse_vocabulary(read_object(path), str(path)).items():
        if name and name not in known:
            yield AddedToken(index, name, special=name in named)


def surroundings(
    definition: Definition, folder: Path, settings: TextSettings, place: str
) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Return the tokens before and after each prompt, with their ids.

    They come from the settings, otherwise from `add_bos_token` and `add_eos_token` of tokenizer_config.json, otherwise
    from the vocabulary's own convention. Raises BuildError for a token without an id.
    """
    config = read_object(folder / "tokenizer_config.json")
    roles = definition.roles | read_roles(folder)
    ids = definition.pieces()

    def choose(stated: tuple[str, ...], key: str, role: str, convention: tuple[str, ...]) -> list[tuple[str, int]]:
        flag = config.get(key)
        names: Iterable[str | None] = stated
        if not stated and isinstance(flag, bool):
            names = [roles.get(role)] if flag else []
        elif not stated:
            names = [roles[name] for name in convention if name in roles]
        for name in names:
            if name not in ids:
                raise BuildError(
                    f"{place}: the token {name!r:.60} before or after a prompt not found; correct the name"
                )
        return [(name, ids[name]) for name in names if name is not None]

    begin = choose(settings.begin, "add_bos_token", "bos_token", definition.begin)
    return begin, choose(settings.end, "add_eos_token", "eos_token", definition.end)


def complete(data: bytes, folder: Path) -> bytes:
    """Return a tokenizer.json with the tokens of `add_bos_token` and `add_eos_token` if its post-processor has none."""
    config = read_object(folder / "tokenizer_config.json")
    flags = [config.get(key) is True for key in ("add_bos_token", "add_eos_token")]
    if not any(flags):
        return data
    place = str(folder / "tokenizer.json")
    definition = parse_object(data, place)
    former = definition.get("post_processor")
    if _adds_tokens(former):
        return data
    ids = _ids(definition)
    roles = read_roles(folder)
    sides: list[list[tuple[str, int]]] = []
    for flag, role in zip(flags, ("bos_token", "eos_token"), strict=True):
        name = roles.get(role)
        sides.append([(name, ids[name])] if flag and name in ids else [])
    if not any(sides):
        return data
    added = template(*sides)
    parts = former.get("processors", [former]) if isinstance(former, dict) else []
    definition["post_processor"] = {"type": "Sequence", "processors": [*parts, added]} if parts else added
    return json.dumps(definition, ensure_ascii=False).encode()


def _adds_tokens(processor: object) -> bool:
    """Return whether a post-processor, or a part of it, puts tokens around a text."""
    if not isinstance(processor, dict):
        return False
    parts = processor.get("processors")
    if isinstance(parts, list):
        return any(map(_adds_tokens, parts))
    if processor.get("type") == "TemplateProcessing":
        return bool(processor.get("special_tokens"))
    return processor.get("type") != "ByteLevel"


def _ids(definition: Mapping[str, Any]) -> dict[str, int]:
    """Return the ids of added tokens of a tokenizer.json."""
    added = definition.get("added_tokens")
    tokens = added if isinstance(added, list) else []
    return {
        token["content"]: token["id"]
        for token in tokens
        if isinstance(token, dict) and isinstance(token.get("content"), str) and isinstance(token.get("id"), int)
    }
