"""Requests of OpenAI's Responses API as chat requests."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from archc.serve.errors import ApiError, bad
from archc.serve.schema import ChatRequest, ResponseRequest

_TEXTS = ("input_text", "output_text", "text")
_NAMES = {"messages": "input", "max_tokens": "max_output_tokens", "response_format": "text.format"}


def as_chat(asked: ResponseRequest) -> ChatRequest:
    """Return the chat request for a response; raise ApiError for what is not supported."""
    if asked.previous_response_id is not None:
        raise bad(
            "previous_response_id: responses are not stored; send the conversation so far in input",
            "previous_response_id",
        )
    if asked.background:
        raise bad("background: not supported; leave it out", "background")
    messages = [{"role": "system", "content": asked.instructions}] if asked.instructions else []
    messages += [{"role": "user", "content": asked.input}] if isinstance(asked.input, str) else _messages(asked.input)
    return ChatRequest(
        messages=messages,
        model=asked.model,
        max_tokens=asked.max_output_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        tools=[_tool(tool, f"tools[{index}]") for index, tool in enumerate(asked.tools or [])] or None,
        tool_choice=_choice(asked.tool_choice),
        response_format=_format(asked.text),
    )


def renamed(error: ApiError) -> ApiError:
    """Return an error of the chat request with the response's name of its field."""
    details = error.body.error
    root = re.split(r"[.\[]", details.param or "")[0]
    if details.param is not None and root in _NAMES:
        name = _NAMES[root] + details.param.removeprefix(root)
        details.message = name + details.message.removeprefix(details.param)
        details.param = name
    return error


def _messages(items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return chat messages for input items: messages, calls of functions and their outputs; reasoning is left out."""
    messages = list[dict[str, Any]]()
    for index, item in enumerate(items):
        place = f"input[{index}]"
        match item.get("type", "message"):
            case "message":
                role = item.get("role")
                if not isinstance(role, str):
                    raise bad(f'{place}.role: expected a text such as "user"', f"{place}.role")
                messages.append({"role": role, "content": _text(item.get("content"), f"{place}.content")})
            case "function_call":
                call = _call(item, place)
                if not messages or messages[-1].get("tool_calls") is None:
                    messages.append({"role": "assistant", "content": "", "tool_calls": []})
                messages[-1]["tool_calls"].append(call)
            case "function_call_output":
                output = _text(item.get("output"), f"{place}.output")
                messages.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": output})
            case "reasoning":
                pass
            case kind:
                expected = "message, function_call, function_call_output or reasoning"
                raise bad(f"{place}.type: expected {expected}, got {str(kind)[:40]!r}", f"{place}.type")
    return messages


def _text(content: object, place: str) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise bad(f"{place}: expected a text, or a list of parts", place)
    texts = list[str]()
    for index, part in enumerate(content):
        text = part.get("text") if isinstance(part, dict) and part.get("type") in _TEXTS else None
        if not isinstance(text, str):
            where = f"{place}[{index}]"
            raise bad(f'{where}: expected a part such as {{"type": "input_text", "text": "…"}}', where)
        texts.append(text)
    return "".join(texts)


def _call(item: Mapping[str, Any], place: str) -> dict[str, Any]:
    for name in ("call_id", "name", "arguments"):
        if not isinstance(item.get(name), str):
            raise bad(f"{place}.{name}: expected a text", f"{place}.{name}")
    function = {"name": item["name"], "arguments": item["arguments"]}
    return {"id": item["call_id"], "type": "function", "function": function}


def _tool(tool: Mapping[str, Any], place: str) -> dict[str, Any]:
    if tool.get("type") != "function":
        raise bad(f"{place}.type: expected function, got {str(tool.get('type'))[:40]!r}", f"{place}.type")
    function = {name: tool[name] for name in ("name", "description", "parameters") if name in tool}
    return {"type": "function", "function": function}


def _choice(choice: object) -> object:
    if isinstance(choice, Mapping) and choice.get("type") == "function":
        return {"type": "function", "function": {"name": choice.get("name")}}
    return choice


def _format(text: Mapping[str, Any] | None) -> object:
    form = (text or {}).get("format")
    if isinstance(form, Mapping) and form.get("type") == "json_schema":
        return {"type": "json_schema", "json_schema": {"name": form.get("name"), "schema": form.get("schema")}}
    return form
