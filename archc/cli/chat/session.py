"""A chat: turns, and the commands that begin with a slash."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from archc.cli.chat.answers import Answer, answer
from archc.cli.chat.conversation import Conversation, read_conversation
from archc.cli.chat.reader import Reader
from archc.cli.commands.generation_options import check_sampling, option_name, parse_option, set_length
from archc.cli.console import UsageError, note, write_text
from archc.error import Error
from archc.runtime.generation.options import SamplingOptions
from archc.runtime.serving.service import Service

HELP = """\
/help               this list
/system [TEXT]      set the system prompt, from the next answer on; without TEXT, remove it
/reset              forget all messages, but not the system prompt
/undo               forget the last message and its answer
/retry              answer the last message again
/save FILE          write the conversation as JSON
/load FILE          continue the conversation of a file
/set OPTION VALUE   set an option, such as temperature 0.8; without VALUE, the default; without OPTION, show all
/tokens             count the tokens of the last turn, and those that were not computed again
/quit               end, as does Ctrl-D
Alt+Enter, or a line that ends in \\, continues a message on the next line; Ctrl-C stops an answer."""

END_REASONS = {"length": "maximum length", "canceled": "interrupted"}


@dataclass
class Session:
    """A conversation with a plan. `options` are those of generation by name."""

    service: Service
    options: dict[str, Any]
    conversation: Conversation
    is_verbose: bool = False
    last: Answer | None = None
    _is_over: bool = field(default=False, init=False)

    @property
    def commands(self) -> dict[str, Callable[[str], None]]:
        """Return the commands by name."""
        return {
            "/help": lambda _: print(HELP, flush=True),
            "/system": self._set_system,
            "/reset": lambda _: self._reset(),
            "/undo": lambda _: self._forget(),
            "/retry": lambda _: self.reply(self._undo()),
            "/save": self._save,
            "/load": self._load,
            "/set": self._set,
            "/tokens": lambda _: self._show_tokens(),
            "/quit": lambda _: self._quit(),
        }

    def run(self, read: Reader, is_interactive: bool) -> None:
        """Answer messages until they end.

        At a terminal an error is shown, and the chat goes on; otherwise it is raised.
        """
        while not self._is_over:
            try:
                text = read()
            except EOFError:
                return
            except KeyboardInterrupt:
                if not is_interactive:
                    raise
                continue
            try:
                self.handle(text)
                if not is_interactive and self.last is not None and self.last.is_interrupted:
                    raise KeyboardInterrupt
            except KeyboardInterrupt:
                if not is_interactive:
                    raise
            except Error as error:
                if not is_interactive:
                    raise
                note(f"error: {error}")

    def handle(self, text: str) -> None:
        """Run a command, or answer a message; a text that begins with two slashes is a message with one."""
        if not text.strip():
            return
        if not text.startswith("/") or text.startswith("//"):
            self.reply(text.removeprefix("/") if text.startswith("//") else text)
            return
        name, _, argument = text.partition(" ")
        command = self.commands.get(name.strip())
        if command is None:
            raise UsageError(f"{name[:40]}: no such command; /help lists them, and // begins a message with a slash")
        command(argument.strip())

    def reply(self, text: str) -> None:
        """Answer a message, and append both to the conversation; a message that fails is forgotten."""
        self.conversation.turns.append({"role": "user", "content": text})
        try:
            prompt = self.service.encode_prompt(self.conversation.messages)
            options = dict(self.options)
            check_sampling(self.service.manifest, options)
            set_length(self.service.manifest, options)
            defaults = options.pop("defaults", True)
            settings = self.service.settings(SamplingOptions.from_keywords(options), defaults, chat=True)
            found = answer(self.service, prompt, settings, write_text)
        except BaseException:
            self.conversation.turns.pop()
            raise
        write_text("" if found.text.endswith("\n") else "\n")
        self.conversation.turns.append({"role": "assistant", "content": found.text})
        self.last = found
        if found.reason in END_REASONS:
            note(f"the answer ends here: {END_REASONS[found.reason]}")
        if self.is_verbose:
            self._show_tokens()

    def _set_system(self, text: str) -> None:
        self.conversation.system = text or None
        note("system prompt set" if text else "system prompt removed")

    def _reset(self) -> None:
        self.conversation.turns.clear()
        self.last = None
        note("all messages forgotten")

    def _undo(self) -> str:
        text = self.conversation.undo()
        if text is None:
            raise UsageError("there is no message yet; write one first")
        note(f"forgotten: {text[:60]!r}")
        return text

    def _forget(self) -> None:
        self._undo()

    def _save(self, name: str) -> None:
        path = _path(name, "/save")
        self.conversation.save(path)
        note(f"{len(self.conversation.messages)} messages written to {path}")

    def _load(self, name: str) -> None:
        self.conversation = read_conversation(_path(name, "/load"))
        note(f"{len(self.conversation.messages)} messages read")

    def _set(self, text: str) -> None:
        word, _, value = text.partition(" ")
        if not word:
            shown = [f"{option_name(name)[2:]} {value}" for name, value in self.options.items() if name != "defaults"]
            note("; ".join(shown) or "all options have the plan's defaults")
            return
        name, parsed = parse_option(word, value.strip())
        options = {key: item for key, item in self.options.items() if key != name}
        if parsed is not None:
            options[name] = parsed
        SamplingOptions.from_keywords({key: item for key, item in options.items() if key != "defaults"})
        self.options = options

    def _show_tokens(self) -> None:
        if self.last is None:
            raise UsageError("there is no answer yet; write a message first")
        last = self.last
        limit = self.service.manifest.limits.max_seq_len
        note(
            f"{last.prompt_tokens} tokens of the prompt, {last.cached_tokens} of them cached; "
            f"{last.new_tokens} new tokens; {last.prompt_tokens + last.new_tokens} of at most {limit}"
        )

    def _quit(self) -> None:
        self._is_over = True


def _path(name: str, command: str) -> Path:
    if not name:
        raise UsageError(f"{command}: expected a file, for example {command} chat.json")
    return Path(name).expanduser()
