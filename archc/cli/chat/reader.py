"""Reading messages: with an editor and a history at a terminal, otherwise line by line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from archc.cli.console import UsageError, note

Reader = Callable[[], str]
"""Returns the next message. Raises EOFError at the end, KeyboardInterrupt for an interrupt."""

_LIMIT = 64 << 20


def history_path() -> Path:
    """Return the file of earlier messages, in the user's folder for state."""
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    folder = state if state.is_absolute() else Path.home() / ".local" / "state"
    return folder / "archc" / "chat_history"


def editor_reader(commands: Sequence[str]) -> Reader:
    """Return a reader with an editor: Alt+Enter begins another line, and so does Enter after a backslash."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.history import FileHistory, History, InMemoryHistory
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

    keys = KeyBindings()

    @keys.add("escape", "enter")
    def _newline(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @keys.add("enter")
    def _enter(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.document.is_cursor_at_the_end and buffer.text.endswith("\\"):
            buffer.delete_before_cursor()
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    path = history_path()
    history: History
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        history = FileHistory(str(path))
    except OSError as error:
        note(f"{path}: {error.strerror or error}; messages of this chat are not remembered")
        history = InMemoryHistory()
    session: PromptSession[str] = PromptSession(
        history=history,
        key_bindings=keys,
        multiline=True,
        completer=WordCompleter(list(commands), sentence=True),
        complete_while_typing=False,
        prompt_continuation="… ",
    )
    return lambda: session.prompt("> ")


def line_reader() -> Reader:
    """Return a reader of stdin: a message is a line, with those after it where it ends in a backslash."""
    stdin = sys.stdin
    if stdin is None:
        raise UsageError("stdin: closed; start archc chat at a terminal, or pass messages through a pipe")

    def read() -> str:
        lines = list[str]()
        while True:
            data = stdin.buffer.readline(_LIMIT + 1)
            if len(data) > _LIMIT:
                raise UsageError(f"stdin: a line larger than {_LIMIT >> 20} MiB, the maximum size of a message")
            if not data and not lines:
                raise EOFError
            try:
                line = data.decode().removesuffix("\n").removesuffix("\r")
            except UnicodeDecodeError as error:
                raise UsageError(f"stdin: byte 0x{data[error.start]:02x} is not valid UTF-8; convert it") from None
            if not data or not line.endswith("\\"):
                return "\n".join([*lines, line] if data else lines)
            lines.append(line.removesuffix("\\"))

    return read
