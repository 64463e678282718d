"""The gateway: an ASGI application that forwards requests to replicas, and repeats those that a replica lost.

All requests of the API may be repeated, because they change nothing. One is repeated as long as nothing of its answer
has been sent, that is until its first token.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.routing import Mount
from starlette.types import Message, Receive, Scope, Send

from archc.serve.errors import RETRY_SECONDS, ApiError, unavailable
from archc.serve.gate import reply
from archc.serve.generation import while_connected
from archc.serve.ray.routing import key_of

_log = logging.getLogger(__name__)
_PAUSE_S = 0.2  # between attempts, in which Ray removes a dead replica from its list
_SCOPE = ("type", "http_version", "method", "scheme", "path", "raw_path", "query_string", "root_path", "headers")


class ReplicaLostError(Exception):
    """The replica of a request has died."""


class ReplicasFullError(Exception):
    """All replicas, and the queue in front of them, are full."""


@dataclass(frozen=True)
class Forwarded:
    """A request as it is sent to a replica: entries of the ASGI scope, and the whole body."""

    scope: dict[str, Any]
    body: bytes


class Replicas(Protocol):
    """The replicas behind a gateway."""

    def answer(self, key: str, request: Forwarded) -> AsyncIterator[list[Message]]:
        """Return the ASGI messages of an answer, as they come. Raises ReplicaLostError or ReplicasFullError."""
        ...


class Gateway:
    """The ASGI callable. `attempts` is the number of replicas that a request is sent to, one after the other."""

    def __init__(self, replicas: Replicas, max_body: int, attempts: int) -> None:
        self._replicas, self._max_body, self._attempts = replicas, max_body, attempts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        try:
            if scope["path"] == "/metrics":
                raise ApiError(404, "/metrics: not served by a gateway; Ray exports the metrics of its deployments")
            forwarded = Forwarded(
                {name: scope[name] for name in _SCOPE if name in scope}, await self._body(scope, receive)
            )
            work = asyncio.ensure_future(self._forward(forwarded, send))
            await while_connected(receive, work)
        except ClientDisconnect:
            return
        except ApiError as error:
            await reply(error)(scope, receive, send)

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        chunks, size = list[bytes](), 0
        async for chunk in Request(scope, receive).stream():
            size += len(chunk)
            if size > self._max_body:
                message = f"body: expected at most {self._max_body:,} bytes; send a shorter request"
                raise ApiError(413, message, code="request_too_large", headers={"Connection": "close"})
            chunks.append(chunk)
        return b"".join(chunks)

    async def _forward(self, request: Forwarded, send: Send) -> None:
        """Send an answer. Raises ApiError as long as nothing has been sent."""
        key = key_of(request.body)
        for attempt in range(1, self._attempts + 1):
            answer = _Answer(send)
            try:
                async for messages in self._replicas.answer(key, request):
                    await answer.push(messages)
            except ReplicaLostError as error:
                _log.warning("attempt %d of %s: a replica was lost: %s", attempt, request.scope.get("path"), error)
                if answer.has_begun:
                    await answer.abort()
                    return
                await asyncio.sleep(_PAUSE_S * attempt)
            except ReplicasFullError:
                message = "queue: all replicas have as many requests as they take; repeat the request later"
                headers = {"Retry-After": str(RETRY_SECONDS)}
                raise ApiError(
                    429, message, kind="rate_limit_error", code="rate_limit_exceeded", headers=headers
                ) from None
            else:
                return
        raise unavailable(f"the request was lost with {self._attempts} replicas, one after the other; repeat it later")


class _Answer:
    """Sends the messages of one attempt: its head is held back until the first part of the body."""

    def __init__(self, send: Send) -> None:
        self._send, self._held = send, list[Message]()
        self.has_begun, self._is_stream = False, False

    async def push(self, messages: list[Message]) -> None:
        self._held += messages
        if not self.has_begun and self._held[-1]["type"] == "http.response.start":
            return
        self.has_begun = True
        held, self._held = self._held, []
        for message in held:
            if message["type"] == "http.response.start":
                self._is_stream = (b"content-type", b"text/event-stream") in [
                    (name.lower(), value.partition(b";")[0]) for name, value in message["headers"]
                ]
            await self._send(message)

    async def abort(self) -> None:
        """End an answer whose replica has died: a stream has an error event, another one ends before its length."""
        error = unavailable("the replica of this answer has died; repeat the request")
        body = b"data: " + error.encode() + b"\n\ndata: [DONE]\n\n" if self._is_stream else b""
        await self._send({"type": "http.response.body", "body": body, "more_body": False})


def create_gateway(replicas: Replicas, max_body: int, attempts: int) -> Starlette:
    """Return the application."""
    return Starlette(routes=[Mount("/", app=Gateway(replicas, max_body, attempts))])
