"""Tools of a request, and grammars of what it demands of the answer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from archc.plan.chat_format import Calls, ChatFormat
from archc.runtime.errors import PromptError
from archc.runtime.structure.grammar import Grammar

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MAX_TOOLS = 128


@dataclass(frozen=True)
class Tool:
    """A function that the model may call: its name, and the JSON schema of its arguments."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})

    @property
    def template_value(self) -> dict[str, Any]:
        """Return the tool as chat templates read it in their variable `tools`."""
        function = {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}
        return {"type": "function", "function": function}


def parse_tools(tools: object) -> list[Tool]:
    """Return the tools of a request's list `tools`, in OpenAI's form; raise PromptError for an invalid one."""
    if tools is None:
        return []
    if not isinstance(tools, Sequence) or isinstance(tools, str) or len(tools) > _MAX_TOOLS:
        raise PromptError(f"tools: expected a list of at most {_MAX_TOOLS} tools")
    parsed = [_parse_tool(f"tools[{index}]", tool) for index, tool in enumerate(tools)]
    names = [tool.name for tool in parsed]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise PromptError(f"tools: {repeated[0]} occurs twice; give each tool a name of its own")
    return parsed


def _parse_tool(place: str, tool: object) -> Tool:
    function = (
        tool.get("function") if isinstance(tool, Mapping) and tool.get("type", "function") == "function" else None
    )
    if not isinstance(function, Mapping):
        raise PromptError(f'{place}: expected {{"type": "function", "function": {{"name": "…"}}}}')
    name, description = function.get("name"), function.get("description") or ""
    parameters = function.get("parameters")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise PromptError(f"{place}.function.name: expected 1 to 64 letters, digits, _, - or ., got {name!r:.80}")
    if not isinstance(description, str):
        raise PromptError(f"{place}.function.description: expected a text, got {type(description).__name__}")
    if parameters is None:
        return Tool(name, description)
    if not isinstance(parameters, Mapping):
        raise PromptError(f"{place}.function.parameters: expected a JSON schema, got {type(parameters).__name__}")
    return Tool(name, description, parameters)


def constraint_for(
    response_format: object = None,
    tool_choice: object = None,
    tools: Sequence[Tool] = (),
    chat_format: ChatFormat | None = None,
    special: Mapping[str, int] | None = None,
) -> Grammar | None:
    """Return the grammar of a request's answer, or None for free text; raise PromptError for invalid fields.

    `response_format` and `tool_choice` have OpenAI's forms. `none` and `auto` leave the answer free; `required` and a
    named function demand one call, in the plan's `chat_format`. `special` has the ids of special tokens by text.
    """
    allowed = _chosen(tool_choice, tools)
    grammar = _of_response(response_format)
    if not allowed:
        return grammar
    if grammar is not None:
        raise PromptError("tool_choice: a call contradicts response_format; remove one")
    if chat_format is None or chat_format.calls is None:
        raise PromptError("tool_choice: the chat format of this plan has no tool calls; use auto or none")
    return _of_call(allowed, chat_format.calls, special or {})


def _chosen(choice: object, tools: Sequence[Tool]) -> list[Tool]:
    """Return the tools of which one must be called; none for `none` and `auto`."""
    if choice in (None, "none", "auto"):
        return []
    if not tools:
        raise PromptError("tool_choice: expected `tools` next to it, got none")
    if choice == "required":
        return list(tools)
    function = choice.get("function") if isinstance(choice, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    found = [tool for tool in tools if tool.name == name]
    if not found:
        names = ", ".join(tool.name for tool in tools)
        raise PromptError(f"tool_choice: expected none, auto, required, or a function among {names}")
    return found


def _of_response(value: object) -> Grammar | None:
    kind = value.get("type") if isinstance(value, Mapping) else None
    if value is None or kind == "text":
        return None
    if kind == "json_object":
        return Grammar.from_schema({"type": "object"})
    if kind == "json_schema" and isinstance(value, Mapping):
        inner = value.get("json_schema")
        schema = inner.get("schema") if isinstance(inner, Mapping) else None
        if isinstance(schema, Mapping):
            return Grammar.from_schema(schema)
        raise PromptError('response_format: expected {"type": "json_schema", "json_schema": {"schema": {…}}}')
    raise PromptError("response_format.type: expected text, json_object or json_schema")


def _of_call(tools: Sequence[Tool], calls: Calls, special: Mapping[str, int]) -> Grammar:
    """Return the grammar of one call of any of the tools."""
    before = _quoted(calls.begin[0], special) if calls.begin and not calls.bare else ""
    after = _quoted(calls.end, special)
    is_named = bool(calls.separator)
    lines = ["start: " + " | ".join(f"call{index}" for index in range(len(tools)))]
    for index, tool in enumerate(tools):
        schema: Mapping[str, Any] = tool.parameters
        head = _quoted(tool.name + calls.separator, special) if is_named else ""
        if not is_named:
            properties = {calls.name: {"const": tool.name}, calls.arguments: schema}
            required = list(properties)
            schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
        compact = {
            **schema,
            "x-guidance": {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "},
        }
        lines.append(f"call{index}: {before} {head} %json {json.dumps(compact, ensure_ascii=False)} {after}")
    return Grammar("grammar", "\n".join(lines))


def _quoted(text: str, special: Mapping[str, int]) -> str:
    """Return a text in Lark's notation, with special tokens by their ids."""
    if not text:
        return ""
    longest_first = sorted(special, key=len, reverse=True)
    pattern = re.compile("(" + ("|".join(map(re.escape, longest_first)) or "(?!)") + ")")
    parts = filter(None, pattern.split(text))
    return " ".join(
        f"<[{special[part]}]>" if part in special else json.dumps(part, ensure_ascii=False) for part in parts
    )
