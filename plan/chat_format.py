"""The format of a model's answers: how text marks tool calls and reasoning."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from archc.plan.engine_section import Section

Mark = Annotated[str, Meta(min_length=1)]


class Calls(Section, frozen=True, kw_only=True):
    """Tool calls: `begin`, a call, `end`; without `begin`, an answer that is a call from its first character.

    A call is a JSON object, or a list of them, with the keys `name` and `arguments`; with a `separator`, a name, the
    separator and the JSON of the arguments; `call_id` and an id may follow the name.
    """

    begin: tuple[Mark, ...] = ()
    end: str = ""
    name: Mark = "name"
    arguments: Mark = "arguments"
    separator: str = ""
    call_id: str = ""
    bare: bool = False


class Reasoning(Section, frozen=True, kw_only=True):
    """Reasoning: text from `begin` to `end`."""

    begin: Mark
    end: Mark


class ChatFormat(Section, frozen=True, kw_only=True):
    """Marks of tool calls and reasoning; `around` are texts that are no part of the content."""

    calls: Calls | None = None
    reasoning: Reasoning | None = None
    around: tuple[Mark, ...] = ()

    @property
    def marks(self) -> tuple[str, ...]:
        """Return all texts that the format gives a meaning."""
        calls, reasoning = self.calls, self.reasoning
        of_calls = (*calls.begin, calls.end, calls.separator, calls.call_id) if calls is not None else ()
        of_reasoning = (reasoning.begin, reasoning.end) if reasoning is not None else ()
        return tuple(mark for mark in (*of_calls, *of_reasoning, *self.around) if mark)
