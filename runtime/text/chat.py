"""Chat templates, rendered in a separate process, because they are untrusted programs.

The sandbox of jinja2 limits a template to its variables; only limits of the process bound its time and memory.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archc.runtime.errors import EngineError, PromptError

MAX_CHARACTERS = 8 << 20
MAX_MEMORY = 1 << 30
SECONDS = 10.0

_WORKER = Path(__file__).with_name("chat_worker.py")


@dataclass(frozen=True)
class Rendered:
    """A template's output and the character ranges of it that come from untrusted variables.

    `untrusted` is None if they cannot be determined.
    """

    text: str
    untrusted: list[tuple[int, int]] | None


def render(
    template: str, variables: Mapping[str, Any], untrusted: Collection[str] = (), seconds: float = SECONDS
) -> Rendered:
    """Return the template's output for JSON-like `variables`, of which those named in `untrusted` are traced.

    Raises PromptError if the template fails or exceeds `seconds`, MAX_MEMORY bytes or MAX_CHARACTERS of text.
    """
    try:
        request = json.dumps(
            {
                "path": [entry for entry in sys.path if entry],
                "template": template,
                "variables": variables,
                "untrusted": list(untrusted),
                "seconds": seconds,
                "memory": MAX_MEMORY,
                "characters": MAX_CHARACTERS,
            }
        )
    except (TypeError, ValueError, RecursionError) as error:
        raise PromptError(
            f"messages: not representable as JSON: {error}; pass strings, numbers, lists and dicts"
        ) from None
    # -I and -S: the child imports jinja2 from this process's path, and runs no other code at its start.
    command = [sys.executable, "-I", "-S", str(_WORKER)]
    try:
        done = subprocess.run(command, input=request.encode(), capture_output=True, timeout=seconds + 2, check=False)
    except subprocess.TimeoutExpired:
        raise _exceeded(seconds) from None
    except OSError as error:
        raise EngineError(
            f"chat template: the Python process {command[0]!r} does not start: {error}; check the installation"
        ) from None
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        raise _exceeded(seconds) from None
    if "error" in answer:
        raise PromptError(f"chat template: failed: {answer['error']}; check the messages and the template")
    spans = answer["untrusted"]
    return Rendered(str(answer["text"]), None if spans is None else [(first, last) for first, last in spans])


def _exceeded(seconds: float) -> PromptError:
    return PromptError(
        f"chat template: terminated after more than {seconds:g} seconds or {MAX_MEMORY >> 20} MiB; check the template"
    )


def pick_template(template: object, name: str = "default") -> str | None:
    """Return the template of `chat_template` in tokenizer_config.json, a string or a list of named ones, or None."""
    if isinstance(template, str):
        return template
    if isinstance(template, list):
        named = {item.get("name"): item.get("template") for item in template if isinstance(item, dict)}
        text = named.get(name)
        return text if isinstance(text, str) else None
    return None


def check_messages(messages: object) -> list[dict[str, Any]]:
    """Return the messages as dictionaries; raise PromptError unless each is a mapping with a role."""
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Sequence) or not messages:
        raise PromptError('messages: expected a list such as [{"role": "user", "content": "Hello"}]')
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise PromptError(f'message {index}: role not found; expected {{"role": "user", "content": "…"}}')
    return [dict(message) for message in messages]
