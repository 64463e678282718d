"""Answers on the wire: one JSON object, or server-sent events as tokens arrive."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any, Protocol

from msgspec import UNSET
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from archc.runtime.serving.job import Event, Finished, PromptScores, Token
from archc.serve.answers import Answer, Choice, Usage, encode
from archc.serve.errors import ApiError
from archc.serve.forms import Form, reason_of
from archc.serve.generation import Generation, while_connected

JSON = "application/json"
_DONE = b"data: [DONE]\n\n"


class Writer(Protocol):
    """Makes the bytes of a stream of server-sent events."""

    def begin(self) -> bytes:
        """Return the first events."""
        ...

    def of(self, index: int, event: Event) -> bytes:
        """Return the events for an event of a job."""
        ...

    def end(self) -> bytes:
        """Return the last events, once all jobs have ended."""
        ...

    def failed(self, error: ApiError) -> bytes:
        """Return the last events after an error."""
        ...


async def collected(generation: Generation, receive: Receive) -> list[list[Token]] | None:
    """Return the tokens of each choice once all jobs have ended; cancel them, and return None, if the client goes."""
    try:
        return await generation.collect(receive)
    finally:
        generation.cancel()


def gone() -> Response:
    """Return the answer to a client that has gone, which nobody reads."""
    return Response(status_code=499)


def json_response(value: Any, status: int = 200) -> Response:
    """Return a response with a value as JSON."""
    return Response(encode(value), status, media_type=JSON)


async def whole(generation: Generation, form: Form, receive: Receive) -> Response:
    """Return the answer once all jobs have ended."""
    tokens = await collected(generation, receive)
    if tokens is None:
        return gone()
    for index, scores in generation.prompt_scores.items():
        form.prompt(index, scores)
    choices = [form.whole(index, tokens[index], generation.finished[index]) for index in range(len(tokens))]
    head = generation.head
    answer = Answer(form.prefix + head.id, form.kind, head.created, head.model, choices, generation.usage)
    return json_response(answer)


class EventStream(Response):
    """Server-sent events of a generation. `stack` has the model of the request, and is closed at the end."""

    def __init__(self, generation: Generation, writer: Writer, stack: AsyncExitStack) -> None:
        super().__init__(
            media_type="text/event-stream", headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        )
        del self.headers["content-length"]
        self._generation, self._writer, self._stack = generation, writer, stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until all jobs have ended, or the client has gone."""
        work = asyncio.ensure_future(self._send_all(send))
        self._generation.feed.on_overflow(work.cancel)  # the connection is closed, because sending may wait for ever
        try:
            async with self._stack:
                await while_connected(receive, work)
        finally:
            self._generation.cancel()

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        writer = self._writer
        body = writer.begin()  # goes with the first tokens
        try:
            while not self._generation.is_done:
                body += b"".join([writer.of(index, event) for index, event in await self._generation.take()])
                if body and not self._generation.is_done:
                    await send({"type": "http.response.body", "body": body, "more_body": True})
                    body = b""
            body += writer.end()
        except ApiError as error:
            body = writer.failed(error)
        await send({"type": "http.response.body", "body": body, "more_body": False})


class ChoiceWriter:
    """The streams of completions: an event for each token, then the usage if asked for, and `[DONE]`."""

    def __init__(self, generation: Generation, form: Form, has_usage: bool) -> None:
        self._generation, self._form, self._has_usage = generation, form, has_usage

    def begin(self) -> bytes:
        """Return the first events."""
        return b"".join(self._event(self._form.begin(index)) for index in range(len(self._generation.jobs)))

    def of(self, index: int, event: Event) -> bytes:
        """Return the events for an event of a job."""
        match event:
            case Token():
                return self._event(self._form.part(index, event))
            case PromptScores():
                return self._event(self._form.prompt(index, event))
            case Finished():
                return self._event(self._form.end(index, reason_of(event)))
            case _:
                return b""

    def end(self) -> bytes:
        """Return the last events, once all jobs have ended."""
        return (self._encode([], self._generation.usage) if self._has_usage else b"") + _DONE

    def failed(self, error: ApiError) -> bytes:
        """Return the last events after an error."""
        return b"data: " + error.encode() + b"\n\n" + _DONE

    def _event(self, choice: Choice | None) -> bytes:
        return self._encode([choice], None) if choice is not None else b""

    def _encode(self, choices: list[Choice], usage: Usage | None) -> bytes:
        head, form = self._generation.head, self._form
        answer = Answer(
            form.prefix + head.id,
            form.part_kind,
            head.created,
            head.model,
            choices,
            usage if self._has_usage else UNSET,
        )
        return b"data: " + encode(answer) + b"\n\n"
