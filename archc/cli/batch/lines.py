"""Lines of a batch: requests in OpenAI's batch format, or prompts alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archc.cli.console import UsageError
from archc.runtime.errors import PromptError
from archc.runtime.serving.requests import Request, parse_request

_LIMIT = 64 << 20
_URLS = {"/v1/chat/completions": "messages", "/v1/completions": "prompt"}
_MOST_ID = 512


@dataclass(frozen=True)
class Line:
    """A request with its id, or the error of its line; `model` is the name in the request."""

    id: str
    request: Request | None = None
    error: str = ""
    model: str | None = None


def count_lines(path: Path) -> int:
    """Return the number of lines that are not blank. Raises UsageError for a file that cannot be read."""
    try:
        with path.open("rb") as file:
            return sum(1 for line in _lines(file) if line.strip())
    except OSError as error:
        raise UsageError(f"--batch: {path}: {error.strerror or error}; check the path and its permissions") from None


def read_lines(path: Path) -> Iterator[Line]:
    """Yield the requests of a file; a line without an id has `line-N`, where N is its number, from 1."""
    places = dict[str, int]()
    with path.open("rb") as file:
        for number, data in enumerate(_lines(file), 1):
            if not data.strip():
                continue
            line = _parse(data, number)
            if line.id in places:
                message = f"line {number}: custom_id is that of line {places[line.id]}; use another"
                yield Line(f"line-{number}", error=message)
                continue
            places[line.id] = number
            yield line


def _lines(file: Any) -> Iterator[bytes]:
    """Yield lines; of one that is too long, its beginning."""
    while data := file.readline(_LIMIT):
        is_cut = not data.endswith(b"\n") and len(data) == _LIMIT
        yield data
        while is_cut and (rest := file.readline(_LIMIT)):
            is_cut = not rest.endswith(b"\n")


def _parse(data: bytes, number: int) -> Line:
    name, place = f"line-{number}", f"line {number}"
    if len(data) >= _LIMIT:
        return Line(name, error=f"{place}: larger than {_LIMIT >> 20} MiB, the maximum of a request; shorten it")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        return Line(name, error=f"{place}: not JSON: {error}; write one object a line")
    if not isinstance(value, dict):
        return Line(name, error=f'{place}: expected an object such as {{"prompt": "…"}}')
    given = value.pop("custom_id", None)
    if given is not None and (not isinstance(given, str) or not 0 < len(given) <= _MOST_ID):
        return Line(name, error=f"{place}: custom_id: expected a text of 1 to {_MOST_ID} characters")
    name = given or name
    try:
        body = _body(value)
        model = body.get("model")
        return Line(name, parse_request(body), model=model if isinstance(model, str) else None)
    except PromptError as error:
        return Line(name, error=f"{place}: {error}")


def _body(value: dict[str, Any]) -> dict[str, Any]:
    """Return the request's fields. Raises PromptError for a line of OpenAI's format that is not supported."""
    if "body" not in value and "url" not in value:
        return value
    if unknown := value.keys() - {"method", "url", "body"}:
        raise PromptError(f"{min(unknown)}: unknown field; expected custom_id, method, url and body")
    if value.get("method", "POST") != "POST":
        raise PromptError("method: expected POST")
    url, body = value.get("url"), value.get("body")
    if not isinstance(url, str) or url not in _URLS:
        raise PromptError(f"url: expected {' or '.join(_URLS)}, got {str(url)[:60]!r}")
    if not isinstance(body, dict):
        raise PromptError("body: expected an object")
    if _URLS[url] not in body:
        raise PromptError(f"body: {_URLS[url]} not found, which {url} requires")
    return body
