"""Prompts of requests: texts, ids and chat messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from archc.serve.errors import bad
from archc.serve.schema import Prompt

_ROLES = {"developer": "system"}  # names of the API for roles of chat templates


def split_prompts(prompt: Prompt, name: str = "prompt") -> list[str | list[int]]:
    """Return the prompts of a request: a text or ids each. Raises ApiError for a list of several kinds."""
    if isinstance(prompt, str):
        return [prompt]
    if not prompt:
        raise bad(f"{name}: expected at least one token or text, got an empty list", name)
    if all(isinstance(item, int) for item in prompt):
        return [_checked([item for item in prompt if isinstance(item, int)], name)]
    texts = [item for item in prompt if isinstance(item, str)]
    rows = [item for item in prompt if isinstance(item, list)]
    if len(texts) == len(prompt):
        return list(texts)
    if len(rows) == len(prompt):
        return [_checked(row, f"{name}[{index}]") for index, row in enumerate(rows)]
    raise bad(f"{name}: expected a text, a list of texts, ids, or a list of lists of ids; got a mixed list", name)


def _checked(ids: list[int], name: str) -> list[int]:
    if not ids:
        raise bad(f"{name}: expected at least one id, got an empty list", name)
    if min(ids) < 0:
        raise bad(f"{name}: expected ids of at least 0, got {min(ids)}", name)
    return ids


def chat_messages(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return messages as chat templates expect them: the content is one text. Raises ApiError for anything else."""
    if not messages:
        raise bad("messages: expected at least one message, got an empty list", "messages")
    return [_message(message, f"messages[{index}]") for index, message in enumerate(messages)]


def _message(message: Mapping[str, Any], place: str) -> dict[str, Any]:
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str):
        raise bad(f'{place}.role: expected a text such as "user"', f"{place}.role")
    if isinstance(content, list):
        content = "".join(_part(part, f"{place}.content[{index}]") for index, part in enumerate(content))
    elif content is None:
        content = ""
    elif not isinstance(content, str):
        raise bad(f"{place}.content: expected a text, or a list of parts", f"{place}.content")
    return {**message, "role": _ROLES.get(role, role), "content": content}


def _part(part: object, place: str) -> str:
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        raise bad(f'{place}: expected a part such as {{"type": "text", "text": "…"}}', place)
    if part["type"] != "text":
        raise bad(
            f"{place}: expected a part of type text, got {part['type'][:40]!r}; other types are not supported", place
        )
    if not isinstance(part.get("text"), str):
        raise bad(f"{place}.text: expected a text", f"{place}.text")
    return str(part["text"])
