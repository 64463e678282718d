"""Errors of requests, in the form of OpenAI's API."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NoReturn

import msgspec

from archc.runtime.errors import CacheFullError, EngineError, PlanError, PromptError, QueueFullError

RETRY_SECONDS = 1

# Fields of requests whose options have another name in the runtime.
_FIELDS = {"max_new_tokens": "max_tokens", "min_new_tokens": "min_tokens", "message": "messages", "ids": "prompt"}
_PLACE = re.compile(r"^(\w+(?:\[\d+\]|\.\w+)*)(?: \d+)?[:,]")
_PATH = re.compile(r" - at `(?:key` in `)?\$\.?(.*?)`$")
_MISSING = re.compile(r"Object missing required field `(\w+)`")


class Details(msgspec.Struct):
    """The error object of OpenAI's API."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(msgspec.Struct):
    """The body of an answer that is an error."""

    error: Details


class ApiError(Exception):
    """An answer with an HTTP status and OpenAI's error object."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.headers = status, dict(headers or {})
        self.body = ErrorBody(Details(message, kind, param, code))

    def encode(self) -> bytes:
        """Return the body as JSON."""
        return msgspec.json.encode(self.body)


def bad(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """Return the error of a request that is not valid."""
    return ApiError(400, message, param=param, code=code)


def unavailable(message: str) -> ApiError:
    """Return the error of a server that cannot answer at present."""
    return ApiError(503, message, kind="server_error", code="unavailable", headers={"Retry-After": str(RETRY_SECONDS)})


def of_engine(error: EngineError, path: str = "", name: str = "", prompt: str | None = "prompt") -> ApiError:
    """Return the answer to an error of the runtime; `path`, which clients do not see, becomes the model's name.

    `prompt` is the field of the request that has the prompt, None if there are several.
    """
    message = str(error).replace(path, name) if path else str(error)
    place = _PLACE.match(message)
    if place and place[1] in _FIELDS:
        message = _FIELDS[place[1]] + message[place.end(1) :]
    param = _FIELDS.get(place[1], place[1]) if place else None
    if message.startswith("the prompt"):  # the only row of a call has no index
        param = prompt
    match error:
        case PromptError() | CacheFullError():
            return bad(message, param)
        case QueueFullError():
            headers = {"Retry-After": str(RETRY_SECONDS)}
            return ApiError(429, message, kind="rate_limit_error", code="rate_limit_exceeded", headers=headers)
        case PlanError():
            return unavailable(message)
        case _:
            return ApiError(500, message, kind="server_error")


def reject(error: msgspec.MsgspecError | RecursionError | UnicodeError) -> NoReturn:
    """Raise the error of a body that is no JSON, or has a value of a wrong type."""
    if isinstance(error, msgspec.ValidationError):
        message = str(error)
        path, missing = _PATH.search(message), _MISSING.match(message)
        param = path[1] if path else None
        text = _PATH.sub("", message)
        text = text[:1].lower() + text[1:]
        if missing:
            param = f"{param}.{missing[1]}" if param else missing[1]
            text = "required, but not found"
        raise bad(f"{param}: {text}" if param else text, param) from None
    if isinstance(error, RecursionError):
        raise bad("body: too many nested values; expected a request of the API") from None
    raise bad(f"body: not JSON: {error}; send the request as JSON in UTF-8") from None
