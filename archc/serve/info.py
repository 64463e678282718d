"""Endpoints about the server: models, health and metrics."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from archc.runtime.serving.service import describe
from archc.serve.architecture import architecture
from archc.serve.context import Context
from archc.serve.models import Model
from archc.serve.replies import json_response


async def models(request: Request) -> Response:
    """GET /v1/models."""
    context: Context = request.app.state.context
    return json_response({"object": "list", "data": [_entry(model) for model in context.models]})


async def model(request: Request) -> Response:
    """GET /v1/models/NAME, with the plan's architecture."""
    context: Context = request.app.state.context
    named = context.models.named(request.path_params["name"])
    return json_response({**_entry(named), "architecture": architecture(named.manifest)})


def _entry(model: Model) -> dict[str, Any]:
    """Return facts of a model; `chat`, whether it has a chat template, is null until it is loaded."""
    service = model.service
    tokenizer = service.tokenizer if service is not None else None
    return {
        "id": model.name,
        "object": "model",
        "created": model.created,
        "owned_by": "archc",
        "loaded": service is not None,
        "chat": None if service is None else tokenizer is not None and tokenizer.template is not None,
        "meta": describe(model.manifest),
    }


async def health(request: Request) -> Response:
    """GET /health: 200 once a token was computed; 503 before, while the server ends, and once it computes no more."""
    context: Context = request.app.state.context
    if context.is_draining:
        return json_response({"status": "draining"}, 503)
    if not context.is_ready:
        return json_response({"status": "loading"}, 503)
    if not context.is_computing:
        return json_response({"status": "failed"}, 503)
    return json_response({"status": "ok"})


async def metrics(request: Request) -> Response:
    """GET /metrics, in the text format of Prometheus."""
    context: Context = request.app.state.context
    return Response(context.metrics.text(), media_type="text/plain; version=0.0.4")
