"""The gate in front of all endpoints: API keys, counts of running requests, and the refusal of new ones at the end."""

from __future__ import annotations

import secrets

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from archc.serve.context import Context
from archc.serve.errors import ApiError, unavailable
from archc.serve.replies import JSON

_ALWAYS = ("/health", "/metrics")  # answered while the server drains
_WITHOUT_KEY = ("/health", "/")  # the page has a field for the key


class Gate:
    """ASGI middleware; other messages than requests pass."""

    def __init__(self, app: ASGIApp, context: Context) -> None:
        self._app, self._context = app, context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        if (error := self._refusal(path, Headers(scope=scope))) is not None:
            self._context.metrics.request(path, error.status)
            await reply(error)(scope, receive, send)
            return
        status = 500

        async def counting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        if path in _ALWAYS:
            await self._app(scope, receive, send)
            return
        self._context.enter()
        try:
            await self._app(scope, receive, counting)
        finally:
            self._context.leave()
            self._context.metrics.request(path, status)

    def _refusal(self, path: str, headers: Headers) -> ApiError | None:
        key = self._context.options.api_key
        if key is not None and path not in _WITHOUT_KEY and not _has_key(headers, key):
            message = "Authorization: expected the header 'Bearer KEY' with the server's API key"
            return ApiError(401, message, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})
        if self._context.is_draining and path not in _ALWAYS:
            error = unavailable("the server is shutting down; send the request to another one")
            error.headers["Connection"] = "close"
            return error
        return None


def _has_key(headers: Headers, key: str) -> bool:
    scheme, _, given = headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and secrets.compare_digest(given.strip().encode(), key.encode())


def reply(error: ApiError) -> Response:
    """Return the answer for an error."""
    return Response(error.encode(), error.status, error.headers, JSON)
