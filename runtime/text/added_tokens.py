"""Added tokens of a checkpoint's other files: tokenizer_config.json, special_tokens_map.json and added_tokens.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from archc.runtime.errors import PlanError

_LISTS = ("additional_special_tokens", "extra_special_tokens")


@dataclass(frozen=True)
class AddedToken:
    """A token that is found in the text before any other is, with the flags of the `tokenizers` library."""

    text: str
    source: str  # the file and key that names it
    id: int | None = None  # as stated by the file; None for the next free one
    special: bool = False  # left out of decoded text, and plain text in prompts unless parsed
    lstrip: bool = False  # includes the spaces before it
    rstrip: bool = False  # includes the spaces after it
    single_word: bool = False  # not found inside a word
    normalized: bool = False  # found in the normalized text
    explicit: bool = False  # with flags of its own, which replace those of tokenizer.json


def read_added_tokens(config: Mapping[str, Any], added: Mapping[str, Any]) -> list[AddedToken]:
    """Return the tokens that `config` (tokenizer_config.json over special_tokens_map.json) and `added` name.

    `added` is added_tokens.json, ids by text. Tokens with an id come first, in order of the ids. Raises PlanError for
    ids that are no numbers, and for two tokens with one id or two ids of one token.
    """
    tokens: dict[str, AddedToken] = {}
    for key, value in _mapping(config.get("added_tokens_decoder")).items():
        source = f"tokenizer_config.json: added_tokens_decoder.{key}"
        if not (token := _token(value, source)):
            raise PlanError(f"tokenizer/{source}: expected a token with `content`, got {value!r:.100}")
        _insert(tokens, replace(token, id=_id(key, source)))
    for text, value in added.items():
        source = f"added_tokens.json: {text}"
        number = _id(value, source)
        if text not in tokens:
            _insert(tokens, AddedToken(text, source, number, normalized=True))
        elif tokens[text].id != number:
            raise _conflict(source, text, number, tokens[text].id)
    for token in _named(config):
        known = tokens.get(token.text)
        if known is None:
            tokens[token.text] = token
        elif not known.explicit:
            tokens[token.text] = replace(token, id=known.id, source=known.source)
    owners: dict[int, AddedToken] = {}
    for token in tokens.values():
        if token.id is not None and (other := owners.setdefault(token.id, token)) is not token:
            raise PlanError(
                f"tokenizer/{token.source}: id {token.id} is also that of {other.text!r} ({other.source}); correct "
                "the checkpoint's files and build the plan again"
            )
    return sorted(tokens.values(), key=lambda token: (token.id is None, token.id or 0))


def check_id(token: AddedToken, actual: int | None) -> None:
    """Raise PlanError if the token's id is not the one that its file states."""
    if token.id is not None and token.id != actual:
        raise _conflict(token.source, token.text, token.id, actual)


def _conflict(source: str, text: str, expected: int, actual: int | None) -> PlanError:
    return PlanError(
        f"tokenizer/{source}: id {expected} of token {text!r} is not its id in the other files, {actual}; correct the "
        "checkpoint's files and build the plan again"
    )


def _named(config: Mapping[str, Any]) -> Iterator[AddedToken]:
    """Yield the special tokens of the keys `…_token` and of the lists of further ones."""
    for key, value in config.items():
        if key.endswith("_token") and (token := _token(value, f"tokenizer_config.json: {key}")):
            yield replace(token, special=True)
    for key in _LISTS:
        values = config.get(key)
        for value in values.values() if isinstance(values, Mapping) else values if isinstance(values, list) else ():
            if token := _token(value, f"tokenizer_config.json: {key}"):
                yield replace(token, special=True)


def _token(value: Any, source: str) -> AddedToken | None:
    """Return the token of a text, or of an object with `content` and flags; None for anything else."""
    if isinstance(value, str):
        return AddedToken(value, source) if value else None
    text = value.get("content") if isinstance(value, Mapping) else None
    if not isinstance(text, str) or not text:
        return None
    names = ("special", "lstrip", "rstrip", "single_word")
    flags = {name: bool(value.get(name, False)) for name in names}
    normalized = bool(value.get("normalized", not flags["special"]))
    return AddedToken(text, source, **flags, normalized=normalized, explicit=True)


def _insert(tokens: dict[str, AddedToken], token: AddedToken) -> None:
    known = tokens.setdefault(token.text, token)
    if known is not token and token.id is not None:
        raise _conflict(token.source, token.text, token.id, known.id)


def _id(value: object, source: str) -> int:
    try:
        number = int(value) if isinstance(value, str | int) and not isinstance(value, bool) else -1
    except ValueError:
        number = -1
    if not 0 <= number < 1 << 32:
        raise PlanError(f"tokenizer/{source}: expected an id from 0 to 2^32 - 1, got {value!r:.100}")
    return number


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
