"""Chat templates: programs from strangers, so they run in a process of their own that can be killed.

The sandbox of jinja2 keeps a template from touching anything but its variables; only the process keeps one that
loops or multiplies strings from taking the machine's time and memory.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from archc.runtime.errors import EngineError, PromptError

MAX_CHARACTERS = 8 << 20
MAX_MEMORY = 1 << 30
SECONDS = 10.0

_WORKER = Path(__file__).with_name("chat_worker.py")


def render(template: str, variables: Mapping[str, Any], seconds: float = SECONDS) -> str:
    """Return the template's output for JSON-like `variables`.

    Raises PromptError if the template fails, or wants more than `seconds`, MAX_MEMORY bytes or MAX_CHARACTERS of text.
    """
    try:
        request = json.dumps({
            "path": [entry for entry in sys.path if entry],
            "template": template,
            "variables": variables,
            "seconds": seconds,
            "memory": MAX_MEMORY,
            "characters": MAX_CHARACTERS,
        })  # fmt: skip
    except (TypeError, ValueError, RecursionError) as error:
        raise PromptError(f"the messages cannot be written as JSON: {error}") from None
    # -I and -S: the child imports jinja2 from where this process would, and runs nothing else at its start.
    command = [sys.executable, "-I", "-S", str(_WORKER)]
    try:
        done = subprocess.run(command, input=request.encode(), capture_output=True, timeout=seconds + 2, check=False)
    except subprocess.TimeoutExpired:
        raise _overran(seconds) from None
    except OSError as error:
        raise EngineError(
            f"the chat template needs a Python process, and {command[0]!r} does not start: {error}"
        ) from None
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        raise _overran(seconds) from None
    if "error" in answer:
        raise PromptError(f"the chat template failed: {answer['error']}")
    return str(answer["text"])


def _overran(seconds: float) -> PromptError:
    return PromptError(f"the chat template used more than {seconds:g} seconds or {MAX_MEMORY >> 20} MiB, and was ended")


def pick_template(template: object, name: str = "default") -> str | None:
    """Return the template of tokenizer_config.json's `chat_template`, a string or a list of named ones, or None."""
    if isinstance(template, str):
        return template
    if isinstance(template, list):
        named = {item.get("name"): item.get("template") for item in template if isinstance(item, dict)}
        found = named.get(name)
        return found if isinstance(found, str) else None
    return None


def check_messages(messages: object) -> list[dict[str, Any]]:
    """Return the messages as plain dictionaries; raise PromptError unless each is one and has a role."""
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Sequence) or not messages:
        raise PromptError('messages must be a list such as [{"role": "user", "content": "Hello"}]')
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise PromptError(f'message {index} has no role; expected {{"role": "user", "content": "…"}}')
    return [dict(message) for message in messages]
