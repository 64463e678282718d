"""tekken.json, a byte-level BPE by ranks with its own split pattern and special tokens before the vocabulary."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, TypeGuard

from archc.compiler.errors import BuildError
from archc.compiler.text.definition import AddedToken, Definition
from archc.compiler.text.ranks import from_ranks

_ROLES = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
# The control tokens of files that list none, in the order of their ids.
_FORMER = (
    "<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]",
    "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]",
)  # fmt: skip


def from_tekken(file: Mapping[str, Any], place: str) -> Definition:
    """Return the tokenizer of tekken.json. Raises BuildError if it is damaged."""
    config, tokens = file.get("config"), file.get("vocab")
    if not isinstance(config, dict) or not isinstance(tokens, list):
        raise BuildError(f"{place}: expected the keys 'config' and 'vocab'; download it again")
    pattern, size = config.get("pattern"), config.get("default_vocab_size")
    special = config.get("default_num_special_tokens")
    if not isinstance(pattern, str) or not _is_count(size) or not _is_count(special) or special > size:
        raise BuildError(f"{place}: config: expected a pattern and numbers of tokens; download it again")
    ranks: dict[bytes, int] = {}
    for rank, token in enumerate(tokens[: size - special]):
        text = _bytes(token)
        if not text or text in ranks:
            raise BuildError(f"{place}: vocab: token {rank}: expected distinct base64, got {token!r:.60}; correct it")
        ranks[text] = rank
    definition = from_ranks(ranks, pattern, place, offset=special)
    definition.added = _special(file.get("special_tokens"), special, place)
    present = {token.content for token in definition.added}
    definition.roles = {role: name for role, name in _ROLES.items() if name in present}
    definition.begin = ("bos_token",)
    return definition


def _special(tokens: object, count: int, place: str) -> list[AddedToken]:
    """Return the special tokens, whose ids come first; unnamed ones have a name by their id."""
    named: dict[int, str] = dict(enumerate(_FORMER[:count]))
    if tokens is not None:
        named = {}
        for token in tokens if isinstance(tokens, list) else [tokens]:
            rank = token.get("rank") if isinstance(token, dict) else None
            name = token.get("token_str") if isinstance(token, dict) else None
            if not _is_count(rank) or rank >= count or not isinstance(name, str) or not name:
                raise BuildError(f"{place}: special_tokens: expected ranks and names, got {token!r:.60}; correct it")
            named[rank] = name
    if len(set(named.values())) != len(named):
        raise BuildError(f"{place}: special_tokens: two tokens have the same name; correct it")
    return [AddedToken(index, named.get(index, f"<SPECIAL_{index}>")) for index in range(count)]


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**24


def _bytes(token: object) -> bytes | None:
    text = token.get("token_bytes") if isinstance(token, dict) else None
    try:
        return base64.b64decode(text, validate=True) if isinstance(text, str) else None
    except (binascii.Error, ValueError):
        return None
