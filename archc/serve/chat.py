"""Demands of a chat request beyond plain text: tools, a response format, and reasoning apart from the answer."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec import UNSET

from archc.plan.chat_format import ChatFormat
from archc.runtime.serving.service import Service
from archc.runtime.structure import output_parser as parsed
from archc.runtime.structure.grammar import Grammar
from archc.runtime.structure.output_parser import OutputParser
from archc.runtime.structure.tools import Tool, constraint_for, parse_tools
from archc.serve.answers import FunctionCall, Message, ToolCall
from archc.serve.schema import ChatRequest, GenerationRequest

_PROMPT_END = 16  # tokens, in which a mark of reasoning may stand


@dataclass(frozen=True)
class Demands:
    """The tools of a request that the model may call, and the grammar of its answer."""

    tools: Sequence[Tool] = ()
    grammar: Grammar | None = None
    chat_format: ChatFormat | None = None

    @property
    def marks(self) -> tuple[str, ...]:
        """Return the special tokens that the text of an answer must have to be parsed."""
        return self.chat_format.marks if self.chat_format is not None else ()

    def parser(self, service: Service, prompt: Sequence[int]) -> OutputParser | None:
        """Return the parser of an answer to a prompt; None if all of it is content."""
        if self.chat_format is None or service.tokenizer is None:
            return None
        end = service.tokenizer.decode(prompt[-_PROMPT_END:], skip_special_tokens=False)
        return OutputParser(self.chat_format, [tool.name for tool in self.tools], end)


def demands_of(service: Service, request: GenerationRequest) -> Demands:
    """Return what a request asks. Raises PromptError for fields that are invalid or that the plan does not support."""
    if not isinstance(request, ChatRequest):
        return Demands(grammar=constraint_for(request.response_format))
    tools = parse_tools(request.tools)
    chat_format = service.manifest.chat_format
    special = service.tokenizer.special if service.tokenizer is not None else {}
    grammar = constraint_for(request.response_format, request.tool_choice, tools, chat_format, special)
    allowed = [] if request.tool_choice == "none" else tools
    return Demands(allowed, grammar, chat_format)


def encode_chat(service: Service, request: ChatRequest, messages: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return the ids of the chat template's text for messages and tools. Raises PromptError."""
    tools = demands_of(service, request).tools
    variables: dict[str, Any] = {"tools": [tool.template_value for tool in tools]} if tools else {}
    return service.encode_prompt(messages, **variables)


@dataclass
class Parts:
    """The messages that the texts of one answer become."""

    parser: OutputParser | None
    calls: list[ToolCall] = field(default_factory=list)

    def push(self, text: str) -> list[Message]:
        """Return parts of the message for more text."""
        if self.parser is None:
            return [Message(content=text)] if text else []
        return [self._message(delta) for delta in self.parser.push(text)]

    def finish(self) -> list[Message]:
        """Return the parts that the end of the answer completes."""
        return [self._message(delta) for delta in self.parser.finish()] if self.parser is not None else []

    def _message(self, delta: parsed.Delta) -> Message:
        if isinstance(delta, parsed.TextDelta):
            if delta.kind == "reasoning":
                return Message(reasoning_content=delta.text)
            return Message(content=delta.text)
        call = ToolCall(delta.index, f"call_{uuid.uuid4().hex[:24]}", FunctionCall(delta.name, delta.arguments))
        self.calls.append(call)
        return Message(tool_calls=[call])


def joined(parts: Sequence[Message]) -> Message:
    """Return the whole message of its parts; without content next to tool calls, that is null."""
    content = "".join(part.content for part in parts if isinstance(part.content, str))
    reasoning = "".join(part.reasoning_content for part in parts if isinstance(part.reasoning_content, str))
    calls = [call for part in parts if isinstance(part.tool_calls, list) for call in part.tool_calls]
    return Message("assistant", None if calls and not content else content, reasoning or UNSET, calls or UNSET)
