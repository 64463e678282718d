"""Requests in the fields of OpenAI's API: from a decoded JSON body to a prompt and the options of a generation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from archc.runtime.errors import PromptError
from archc.runtime.generation.options import SamplingOptions
from archc.runtime.structure.grammar import Grammar
from archc.runtime.structure.tools import constraint_for

_ROLES = {"developer": "system"}  # names of the API for roles of chat templates
_MAY_BE_EMPTY = ("assistant", "function")  # messages that may have calls of functions in place of content
_RENAMED = {
    "max_tokens": "max_new_tokens",
    "max_completion_tokens": "max_new_tokens",
    "min_tokens": "min_new_tokens",
}
_WITHOUT_EFFECT = ("model", "user", "metadata", "store", "service_tier", "safety_identifier")
_NEUTRAL: Mapping[str, Sequence[object]] = {
    "n": (1,),
    "best_of": (1,),
    "stream": (False,),
    "echo": (False,),
    "logprobs": (False,),
    "tools": ([],),
    "suffix": ("",),
}
"""Fields that are supported with these values only."""


@dataclass(frozen=True)
class Request:
    """A prompt, a text, ids or chat messages, and the options that the request sets."""

    prompt: str | list[int] | list[dict[str, Any]]
    is_chat: bool
    options: Mapping[str, Any]

    def sampling(self, defaults: Mapping[str, Any]) -> SamplingOptions:
        """Return the options, with those that the request leaves out from `defaults`. Raises PromptError."""
        given = dict(self.options)
        others = dict(defaults)
        if given.keys() & {"max_new_tokens", "max_length"}:
            others = {name: value for name, value in others.items() if name not in ("max_new_tokens", "max_length")}
        return SamplingOptions.from_keywords({**others, **given})


def parse_request(body: Mapping[str, Any]) -> Request:
    """Return the request of a body with `prompt` or `messages`; fields that are null are left out.

    Other fields are names of the API or of SamplingOptions. Raises PromptError for anything else.
    """
    fields = {name: value for name, value in body.items() if value is not None and name not in _WITHOUT_EFFECT}
    if ("prompt" in fields) == ("messages" in fields):
        raise PromptError(
            "request: expected one of prompt and messages, got " + ("both" if "prompt" in fields else "none")
        )
    for name, values in _NEUTRAL.items():
        if name in fields and fields.pop(name) not in values:
            raise PromptError(f"{name}: only {values[0]!r} is supported; leave it out")
    is_chat = "messages" in fields
    prompt = chat_messages(fields.pop("messages")) if is_chat else _prompt(fields.pop("prompt"))
    options = option_keywords(fields, constraint_for(fields.pop("response_format", None)))
    SamplingOptions.from_keywords(options)
    return Request(prompt, is_chat, options)


def option_keywords(fields: Mapping[str, Any], grammar: Grammar | None = None) -> dict[str, Any]:
    """Return fields of the API, none of them null, as keywords of SamplingOptions.

    `grammar` is that of a response format or of tools. Raises PromptError for a field that is given twice.
    """
    options = dict[str, Any]()
    for name, value in fields.items():
        keyword = _RENAMED.get(name, name)
        if keyword in options:
            raise PromptError(f"{name}: given twice, by another name too; leave one out")
        options[keyword] = value
    if isinstance(seed := options.get("seed"), int):
        options["seed"] = seed % (1 << 64)  # the API's seeds are signed numbers of 64 bits
    if options.get("stop") == []:
        del options["stop"]
    if isinstance(biases := options.get("logit_bias"), Mapping):
        options["logit_bias"] = {_token(name): value for name, value in biases.items()}
    if grammar is not None:
        if other := next((name for name in ("regex", "grammar", "json_schema") if name in options), None):
            raise PromptError(f"{other}: contradicts response_format or tool_choice; remove one")
        options["grammar"] = grammar
    return options


def _token(name: object) -> object:
    """Return the token of a name in a JSON object; anything else as it is."""
    return int(name) if isinstance(name, str) and name.isascii() and name.isdecimal() and len(name) < 20 else name


def _prompt(prompt: object) -> str | list[int]:
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str):
        prompt = prompt[0]
    if isinstance(prompt, str):
        return prompt
    if not isinstance(prompt, list) or not prompt or any(type(token) is not int or token < 0 for token in prompt):
        raise PromptError("prompt: expected one text, or one list of token ids")
    return prompt


def chat_messages(messages: object) -> list[dict[str, Any]]:
    """Return messages as chat templates expect them: the content is one text. Raises PromptError for anything else."""
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise PromptError('messages: expected at least one message, such as {"role": "user", "content": "Hello"}')
    return [_message(message, f"messages[{index}]") for index, message in enumerate(messages)]


def _message(message: object, place: str) -> dict[str, Any]:
    if not isinstance(message, dict):
        raise PromptError(f'{place}: expected a message such as {{"role": "user", "content": "Hello"}}')
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str):
        raise PromptError(f'{place}.role: role not found; expected a text such as "user"')
    if isinstance(content, list):
        content = "".join(_part(part, f"{place}.content[{index}]") for index, part in enumerate(content))
    elif not isinstance(content, str | None):
        raise PromptError(f"{place}.content: expected a text, or a list of parts")
    elif content is None and role not in _MAY_BE_EMPTY:
        raise PromptError(f"{place}.content: not found; expected a text, or a list of parts")
    return {**message, "role": _ROLES.get(role, role), "content": content or ""}


def _part(part: object, place: str) -> str:
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        raise PromptError(f'{place}: expected a part such as {{"type": "text", "text": "…"}}')
    if part["type"] != "text":
        raise PromptError(
            f'{place}: expected parts such as {{"type": "text", "text": "…"}} only, got the type {part["type"][:40]!r}'
        )
    if not isinstance(part.get("text"), str):
        raise PromptError(f"{place}.text: expected a text")
    return str(part["text"])
