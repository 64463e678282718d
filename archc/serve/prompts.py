"""Prompts of requests: texts, ids and chat messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from archc.runtime.errors import PromptError
from archc.runtime.serving import requests
from archc.serve.errors import bad, of_engine
from archc.serve.schema import Prompt


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
    try:
        return requests.chat_messages(messages)
    except PromptError as error:
        raise of_engine(error) from None
