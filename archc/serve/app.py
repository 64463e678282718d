"""The ASGI application."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from archc.serve import endpoints, info, responses, texts, vectors
from archc.serve.context import Context
from archc.serve.errors import ApiError
from archc.serve.gate import Gate, reply
from archc.serve.page import page

_log = logging.getLogger(__name__)

_ROUTES = [
    Route("/", page),
    Route("/v1/models", info.models),
    Route("/v1/models/{name:path}", info.model),
    Route("/v1/completions", endpoints.completions, methods=["POST"]),
    Route("/v1/chat/completions", endpoints.chat_completions, methods=["POST"]),
    Route("/v1/responses", responses.responses, methods=["POST"]),
    Route("/v1/embeddings", vectors.embeddings, methods=["POST"]),
    Route("/v1/rerank", vectors.rerank, methods=["POST"]),
    Route("/tokenize", texts.tokenize, methods=["POST"]),
    Route("/detokenize", texts.detokenize, methods=["POST"]),
    Route("/health", info.health),
    Route("/metrics", info.metrics),
]


def create_app(context: Context) -> Starlette:
    """Return the application; at its start it loads the first model, and at its end it unloads all."""
    middleware = [Middleware(Gate, context=context)]
    if context.options.cors:
        cors = Middleware(
            CORSMiddleware, allow_origins=context.options.cors, allow_methods=["GET", "POST"], allow_headers=["*"]
        )
        middleware.insert(0, cors)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await context.start()
        try:
            yield
        finally:
            await context.models.close()

    app = Starlette(
        routes=_ROUTES,
        middleware=middleware,
        lifespan=lifespan,
        exception_handlers={ApiError: _api_error, HTTPException: _http_error, Exception: _fault},
    )
    app.state.context = context
    return app


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return reply(error)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    method, path = request.method, request.url.path[:80]
    message = {
        404: f"{path}: no such endpoint; see docs/serve.md",
        405: f"{path}: the method {method} is not supported; see docs/serve.md",
    }.get(error.status_code, error.detail)
    return reply(ApiError(error.status_code, message, headers=error.headers))


async def _fault(request: Request, error: Exception) -> Response:
    """Answer a fault of the server, whose traceback goes to its log; that of uvicorn is off."""
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return reply(ApiError(500, "the server failed; its log has the reason", kind="server_error"))
