"""An answer in pieces: content, reasoning and tool calls, told apart by the marks of the chat format."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from archc.plan.chat_format import ChatFormat

Kind = Literal["content", "reasoning"]
_MAX_CALL = 1 << 20  # characters; a longer one is content


@dataclass(frozen=True)
class TextDelta:
    """More text of the content or of the reasoning."""

    kind: Kind
    text: str


@dataclass(frozen=True)
class ToolCall:
    """A complete tool call: its place in the answer, the tool's name, and its arguments as JSON."""

    index: int
    name: str
    arguments: str


Delta: TypeAlias = TextDelta | ToolCall


class OutputParser:
    """Splits the text of one answer. Text that may begin a mark is held back until it is certain.

    `tools` are the names of the request's tools; without any, calls are content. `prompt` is the end of the prompt's
    text with its special tokens: after a prompt that ends with the mark of reasoning, the answer begins with reasoning.
    The text must include the special tokens among `chat_format.marks`. A call that is not valid, or of another tool, is
    content, with its marks.
    """

    def __init__(self, chat_format: ChatFormat, tools: Collection[str] = (), prompt: str = "") -> None:
        self._calls = chat_format.calls if tools else None
        self._reasoning, self._around = chat_format.reasoning, chat_format.around
        self._tools = frozenset(tools)
        self._held, self._count = "", 0
        self._mark: str | None = None  # of the call whose text is held
        self._is_reasoning = self._reasoning is not None and prompt.rstrip().endswith(self._reasoning.begin.rstrip())
        self._trims = True  # spaces at the beginning of content or reasoning
        self._may_be_bare = self._calls is not None and self._calls.bare

    def push(self, text: str) -> list[Delta]:
        """Return the deltas that a piece of text completes."""
        self._held += text
        return self._advance(ended=False)

    def finish(self) -> list[Delta]:
        """Return the deltas of the text that is held back, at the end of the answer."""
        return self._advance(ended=True)

    def _advance(self, ended: bool) -> list[Delta]:
        deltas: list[Delta] = []
        while self._step(deltas, ended):
            pass
        return deltas

    def _step(self, deltas: list[Delta], ended: bool) -> bool:
        """Consume text up to the end of a mark or call; return whether more can follow at once."""
        if self._mark is not None:
            return self._step_call(deltas, ended)
        if self._may_be_bare and not self._is_reasoning and self._held.strip():
            if (decided := self._begins_bare()) is None and not ended:
                return False
            self._may_be_bare = False
            if decided:
                self._mark = ""
                return True
        marks = self._marks()
        found = [(at, -len(mark), mark) for mark in marks if (at := self._held.find(mark)) >= 0]
        if not found:
            keep = 0 if ended else _held_back(self._held, marks)
            self._emit(deltas, self._held[: len(self._held) - keep])
            self._held = self._held[len(self._held) - keep :]
            return False
        at, _, mark = min(found)
        if (
            not ended
            and _held_back(self._held[at:], [other for other in marks if len(other) > len(mark)])
            == len(self._held) - at
        ):
            # A longer mark may begin here.
            self._emit(deltas, self._held[:at])
            self._held = self._held[at:]
            return False
        self._emit(deltas, self._held[:at])
        self._held = self._held[at + len(mark) :]
        self._enter(mark)
        return True

    def _enter(self, mark: str) -> None:
        reasoning = self._reasoning
        if reasoning is not None and mark in (reasoning.begin, reasoning.end):
            self._is_reasoning, self._trims = mark == reasoning.begin, True
        elif self._calls is not None and mark in self._calls.begin:
            self._mark = mark

    def _marks(self) -> list[str]:
        """Return the marks that count at present."""
        if self._reasoning is not None and self._is_reasoning:
            return [self._reasoning.end]
        begins = (self._reasoning.begin,) if self._reasoning is not None else ()
        return [*begins, *(self._calls.begin if self._calls is not None else ()), *self._around]

    def _begins_bare(self) -> bool | None:
        """Return whether the answer is a call without a mark; None if that is open."""
        assert self._calls is not None
        text = self._held.lstrip()
        if not self._calls.separator:
            return text.startswith("{")
        heads = [name + self._calls.separator for name in self._tools]
        if any(text.startswith(head) for head in heads):
            return True
        return None if any(head.startswith(text) for head in heads) else False

    def _step_call(self, deltas: list[Delta], ended: bool) -> bool:
        """Consume a call that is complete, or the rest of the answer as content."""
        assert self._calls is not None
        assert self._mark is not None
        end = self._calls.end if self._mark else ""
        at = self._held.find(end) if end else -1
        if at < 0 and not ended and len(self._held) < _MAX_CALL:
            return False
        body = self._held if at < 0 else self._held[:at]
        rest = "" if at < 0 else self._held[at + len(end) :]
        calls = self._parse(body)
        if not calls:
            self._emit(deltas, self._mark + body + (end if at >= 0 else ""))
        for name, arguments in calls:
            deltas.append(ToolCall(self._count, name, arguments))
            self._count += 1
        self._held, self._mark, self._trims = rest, None, bool(calls)
        return bool(rest)

    def _parse(self, body: str) -> list[tuple[str, str]]:
        """Return the calls of a text between marks; none if any of them is not valid.

        Without an end, each call has a mark of its own.
        """
        assert self._calls is not None
        calls = self._parse_one(body)
        if calls or not self._mark or self._calls.end:
            return calls
        parts = [self._parse_one(part) for part in body.split(self._mark)]
        return [call for part in parts for call in part] if all(parts) else []

    def _parse_one(self, body: str) -> list[tuple[str, str]]:
        """Return the calls of a list or a call of its own; none if any of them is not valid."""
        assert self._calls is not None
        text, separator = body.strip(), self._calls.separator
        if separator and not text.startswith(("{", "[")):
            head, found, arguments = text.partition(separator)
            head = head.partition(self._calls.call_id)[0] if self._calls.call_id else head
            name = head.split(maxsplit=1)[0].partition("<")[0] if head.split() else ""
            values: list[object] = [{self._calls.name: name, self._calls.arguments: _read(arguments)}] if found else []
        else:
            value = _read(text)
            values = value if isinstance(value, list) else [value]
        calls: list[tuple[str, str]] = []
        for value in values:
            tool = value.get(self._calls.name) if isinstance(value, dict) else None
            given = value.get(self._calls.arguments, {}) if isinstance(value, dict) else None
            if not isinstance(tool, str) or tool not in self._tools or not isinstance(given, dict):
                return []
            calls.append((tool, json.dumps(given, ensure_ascii=False)))
        return calls

    def _emit(self, deltas: list[Delta], text: str) -> None:
        if self._trims:
            text = text.lstrip()
        if text:
            self._trims = False
            deltas.append(TextDelta("reasoning" if self._is_reasoning else "content", text))


def _read(text: str) -> object:
    """Return the value of a JSON text, or None if it is not valid."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _held_back(text: str, marks: Sequence[str]) -> int:
    """Return the number of characters at the end that may begin a mark."""
    longest = max(map(len, marks), default=0)
    sizes = range(min(longest - 1, len(text)), 0, -1)
    return next(
        (size for size in sizes if any(mark.startswith(text[-size:]) and len(mark) > size for mark in marks)), 0
    )
