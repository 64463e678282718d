"""Answers on the wire: one JSON object, or server-sent events as tokens arrive."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from msgspec import UNSET
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from archc.runtime.serving.job import Finished, Token
from archc.serve.answers import Answer, Choice, Usage, encode
from archc.serve.errors import ApiError
from archc.serve.feed import Tagged
from archc.serve.forms import Form, reason_of
from archc.serve.generation import Generation, while_connected

JSON = "application/json"
_DONE = b"data: [DONE]\n\n"


async def whole(generation: Generation, form: Form, receive: Receive) -> Response:
    """Return the answer once all jobs have ended; cancel them if the client goes before."""
    try:
        tokens = await generation.collect(receive)
    finally:
        generation.cancel()
    if tokens is None:
        return Response(status_code=499)  # nobody reads it
    choices = [form.whole(index, tokens[index], generation.finished[index]) for index in range(len(tokens))]
    head = generation.head
    answer = Answer(form.prefix + head.id, form.kind, head.created, head.model, choices, generation.usage)
    return Response(encode(answer), media_type=JSON)


class EventStream(Response):
    """Server-sent events: one for each token, then the usage if asked for, and `[DONE]`.

    `stack` has the model of the request, and is closed at the end.
    """

    def __init__(self, generation: Generation, form: Form, has_usage: bool, stack: AsyncExitStack) -> None:
        super().__init__(
            media_type="text/event-stream", headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        )
        del self.headers["content-length"]
        self._generation, self._form, self._has_usage, self._stack = generation, form, has_usage, stack

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
        begins = [self._form.begin(index) for index in range(len(self._generation.jobs))]
        body = b"".join(self._event(begin) for begin in begins if begin is not None)  # goes with the first tokens
        try:
            while not self._generation.is_done:
                body += b"".join(map(self._of, await self._generation.take()))
                if body and not self._generation.is_done:
                    await send({"type": "http.response.body", "body": body, "more_body": True})
                    body = b""
            if self._has_usage:
                body += self._encode([], self._generation.usage)
        except ApiError as error:
            body = b"data: " + error.encode() + b"\n\n"
        await send({"type": "http.response.body", "body": body + _DONE, "more_body": False})

    def _of(self, tagged: Tagged) -> bytes:
        index, event = tagged
        match event:
            case Token():
                part = self._form.part(index, event)
                return self._event(part) if part is not None else b""
            case Finished():
                return self._event(self._form.end(index, reason_of(event)))
            case _:
                return b""

    def _event(self, choice: Choice) -> bytes:
        return self._encode([choice], None)

    def _encode(self, choices: list[Choice], usage: Usage | None) -> bytes:
        head = self._generation.head
        answer = Answer(
            self._form.prefix + head.id,
            self._form.part_kind,
            head.created,
            head.model,
            choices,
            usage if self._has_usage else UNSET,
        )
        return b"data: " + encode(answer) + b"\n\n"
