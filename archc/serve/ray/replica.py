"""A replica: the application of `archc serve`, whose requests come from gateways."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from starlette.types import ASGIApp, Message

from archc.runtime.errors import EngineError
from archc.serve.app import create_app
from archc.serve.context import Context
from archc.serve.errors import ApiError
from archc.serve.models import Models
from archc.serve.options import ServeOptions
from archc.serve.ray.gateway import Forwarded


class Replica:
    """The class of the deployment. Raises ServeError or PlanError for plans that cannot be served."""

    def __init__(self, plans: Sequence[str], options: ServeOptions) -> None:
        self._context = Context(Models(plans, options), options)
        self._app: ASGIApp = create_app(self._context)

    async def check_health(self) -> None:
        """Load the first plan before the first request, and later raise EngineError once a plan computes no more.

        Ray calls it at the end of a replica's start, then periodically, and replaces a replica that raises.
        """
        if not self._context.is_ready:
            try:
                await self._context.start()
            except ApiError as error:
                raise EngineError(str(error)) from None
        if not self._context.is_computing:
            raise EngineError("the computing thread has ended; the log has the reason")

    async def answer(self, key: str, request: Forwarded) -> AsyncIterator[list[Message]]:
        """Yield the ASGI messages of an answer: those that are ready at a time as one list. `key` is for the router."""
        exchange = _Exchange(request.body)
        scope = {**request.scope, "asgi": {"version": "3.0"}, "client": None, "server": None}
        work = asyncio.ensure_future(exchange.run(self._app, scope))
        try:
            while messages := await exchange.take():
                yield messages
            await work
        finally:
            exchange.disconnect()  # the application cancels what it computes
            await asyncio.wait({work})

    def close(self) -> None:
        """Unload the plans."""
        for model in self._context.models:
            service, model.service = model.service, None
            if service is not None:
                service.close()

    def __del__(self) -> None:
        """Unload the plans; Ray calls it after the last request of a replica that ends."""
        if hasattr(self, "_context"):
            self.close()


class _Exchange:
    """The two channels of an ASGI call: the body goes in at once, messages come out through a queue."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body
        self._messages = asyncio.Queue[Message | None]()
        self._gone, self._has_ended = asyncio.Event(), False

    async def run(self, app: ASGIApp, scope: dict[str, object]) -> None:
        """Call the application."""
        try:
            await app(scope, self._receive, self._messages.put)
        finally:
            self._messages.put_nowait(None)

    async def _receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    def disconnect(self) -> None:
        """Let the application see that the client has gone."""
        self._gone.set()

    async def take(self) -> list[Message]:
        """Wait for messages, and return all that are there; none after the last."""
        if self._has_ended:
            return []
        messages = [await self._messages.get()]
        while not self._messages.empty():
            messages.append(self._messages.get_nowait())
        self._has_ended = messages[-1] is None
        return [message for message in messages if message is not None]
