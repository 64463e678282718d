"""The messages of a conversation, and the file that holds them."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from archc.cli.console import UsageError

Message = dict[str, str]
_LIMIT = 64 << 20


@dataclass
class Conversation:
    """A system prompt, if any, and the turns after it."""

    system: str | None = None
    turns: list[Message] = field(default_factory=list)

    @property
    def messages(self) -> list[Message]:
        """Return all messages, as a chat template takes them."""
        first = [{"role": "system", "content": self.system}] if self.system is not None else []
        return [*first, *self.turns]

    def undo(self) -> str | None:
        """Remove the last message of the user and what follows it; return its text, or None if there is none."""
        for index in reversed(range(len(self.turns))):
            if self.turns[index]["role"] == "user":
                text = self.turns[index]["content"]
                del self.turns[index:]
                return text
        return None

    def save(self, path: Path) -> None:
        """Write {"messages": [...]} to a file. Raises UsageError if there is another kind of file."""
        if path.exists():
            try:
                read_conversation(path)
            except UsageError:
                raise UsageError(f"{path}: exists, and is no conversation; name another file") from None
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        text = json.dumps({"messages": self.messages}, ensure_ascii=False, indent=2) + "\n"
        try:
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise UsageError(f"{path}: {error.strerror or error}; name another file") from None


def read_conversation(path: Path) -> Conversation:
    """Return the conversation of a file: {"messages": [...]}, or the list alone. Raises UsageError for another one."""
    try:
        if not path.is_file():
            raise UsageError(f"{path}: no such file; /save FILE writes one")
        if path.stat().st_size > _LIMIT:
            raise UsageError(f"{path}: larger than {_LIMIT >> 20} MiB, the maximum of a conversation; shorten it")
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}; check the path and its permissions") from None
    except (ValueError, RecursionError):
        raise UsageError(f'{path}: not JSON; expected {{"messages": [...]}}') from None
    messages = value.get("messages") if isinstance(value, dict) else value
    if not isinstance(messages, list):
        raise UsageError(f'{path}: messages not found; expected {{"messages": [...]}}')
    read = [_message(message, f"{path}: message {index}") for index, message in enumerate(messages)]
    system = read[0]["content"] if read and read[0]["role"] == "system" else None
    return Conversation(system, read[1:] if system is not None else read)


def _message(message: object, place: str) -> Message:
    role, content = (message.get("role"), message.get("content")) if isinstance(message, dict) else (None, None)
    if not isinstance(role, str) or not isinstance(content, str):
        raise UsageError(f'{place}: expected {{"role": "user", "content": "…"}}')
    return {"role": role, "content": content}
