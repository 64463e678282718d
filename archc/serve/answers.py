"""Answers of the API."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType


class CachedTokens(msgspec.Struct):
    """Tokens of the prompt that a former request had computed."""

    cached_tokens: int


class Usage(msgspec.Struct):
    """Numbers of tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: CachedTokens | UnsetType = UNSET


class TopLogprob(msgspec.Struct):
    """A likely token; `bytes` is null for a part of a character."""

    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(msgspec.Struct):
    """A token of a chat answer."""

    token: str
    logprob: float
    bytes: list[int] | None
    top_logprobs: list[TopLogprob]


class ChatLogprobs(msgspec.Struct):
    """Log-probabilities of a chat answer."""

    content: list[TokenLogprob]
    refusal: None = None


class TextLogprobs(msgspec.Struct):
    """Log-probabilities of a completion; the first token of a prompt that is repeated has none."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class FunctionCall(msgspec.Struct):
    """The function of a tool call, and its arguments as JSON."""

    name: str
    arguments: str


class ToolCall(msgspec.Struct):
    """A tool call; in a stream, it is complete in one part."""

    index: int
    id: str
    function: FunctionCall
    type: str = "function"


class Message(msgspec.Struct, omit_defaults=True):
    """A message of the model, or in a stream a part of one."""

    role: str | UnsetType = UNSET
    content: str | UnsetType | None = UNSET
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[ToolCall] | UnsetType = UNSET


class TextChoice(msgspec.Struct):
    """One completion, or a part of it."""

    index: int
    text: str
    finish_reason: str | None = None
    logprobs: TextLogprobs | None = None
    token_ids: list[int] | UnsetType = UNSET


class ChatChoice(msgspec.Struct):
    """One chat answer."""

    index: int
    message: Message
    finish_reason: str | None = None
    logprobs: ChatLogprobs | None = None
    token_ids: list[int] | UnsetType = UNSET


class ChatDelta(msgspec.Struct):
    """A part of a chat answer."""

    index: int
    delta: Message
    finish_reason: str | None = None
    logprobs: ChatLogprobs | None = None
    token_ids: list[int] | UnsetType = UNSET


Choice = TextChoice | ChatChoice | ChatDelta


class Answer(msgspec.Struct):
    """A whole answer, or one event of a stream."""

    id: str
    object: str
    created: int
    model: str
    choices: list[Any]
    usage: Usage | UnsetType | None = UNSET


encode = msgspec.json.Encoder().encode
"""Return a struct as JSON."""
