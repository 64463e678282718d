"""Endpoints of encoders: vectors of texts, and the order of documents by their relevance to a query."""

from __future__ import annotations

import asyncio
import base64
import uuid
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

from archc.plan.records import OutputRole
from archc.runtime.errors import PromptError
from archc.runtime.serving.service import Service
from archc.runtime.state.scores import class_scores
from archc.runtime.text.pairs import encode_texts
from archc.serve.answers import Usage
from archc.serve.bodies import read_body
from archc.serve.context import Context
from archc.serve.errors import bad
from archc.serve.generation import leased
from archc.serve.prompts import split_prompts
from archc.serve.replies import json_response
from archc.serve.schema import Document, EmbeddingRequest, RerankRequest, decode

Floats = NDArray[np.float32]
Scores = tuple[list[float], int]
"""The relevance of each document, and the number of tokens."""

_MOST_DOCUMENTS = 10_000


async def embeddings(request: Request) -> Response:
    """POST /v1/embeddings: the pooled output of an encoder for each text."""
    asked = decode(EmbeddingRequest, await read_body(request))
    inputs = split_prompts(asked.input, "input")
    context: Context = request.app.state.context
    async with leased(context, asked.model, "input") as model:
        async with model.encoding:
            vectors, count = await asyncio.to_thread(_pooled, model.loaded, inputs, asked.dimensions)
        as_text = asked.encoding_format == "base64"
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": base64.b64encode(row.tobytes()).decode() if as_text else row.tolist(),
            }
            for index, row in enumerate(vectors)
        ]
        return json_response({"object": "list", "data": data, "model": model.name, "usage": Usage(count, 0, count)})


async def rerank(request: Request) -> Response:
    """POST /v1/rerank: documents by their relevance to a query, the most relevant first."""
    asked = decode(RerankRequest, await read_body(request))
    documents = [each.text if isinstance(each, Document) else each for each in asked.documents]
    if not 1 <= len(documents) <= _MOST_DOCUMENTS:
        message = f"documents: expected 1 to {_MOST_DOCUMENTS:,} texts, got {len(documents):,}"
        raise bad(message, "documents")
    if asked.top_n is not None and asked.top_n < 1:
        raise bad(f"top_n: expected at least 1, got {asked.top_n}", "top_n")
    context: Context = request.app.state.context
    async with leased(context, asked.model, None) as model:
        async with model.encoding:
            scores, count = await asyncio.to_thread(_relevance, model.loaded, asked.query, documents)
        best = sorted(range(len(scores)), key=lambda index: -scores[index])[: asked.top_n]
        results = [
            {"index": index, "relevance_score": scores[index]}
            | ({"document": {"text": documents[index]}} if asked.return_documents else {})
            for index in best
        ]
        usage = {"prompt_tokens": count, "total_tokens": count}
        return json_response(
            {"id": f"rerank-{uuid.uuid4().hex}", "model": model.name, "results": results, "usage": usage}
        )


def _pooled(
    service: Service, inputs: Sequence[str | list[int]], dimensions: int | None = None
) -> tuple[list[Floats], int]:
    """Return vectors, float32 [hidden], and the number of tokens; with `dimensions`, the first ones, of norm 1."""
    engine = service.engine
    output = engine.manifest.output("pooled") if engine is not None else None
    if engine is None or output is None:
        raise PromptError("model: the plan has no pooled output, which this endpoint requires; use an encoder's plan")
    hidden = output.shape[-1]
    if dimensions is not None and isinstance(hidden, int) and not 1 <= dimensions <= hidden:
        raise PromptError(f"dimensions: expected 1 to {hidden}, the size of the plan's vectors, got {dimensions}")
    rows = [service.encode_prompt(item) if isinstance(item, str) else item for item in inputs]
    vectors: list[Floats] = [engine.pooled([row])[0].astype("<f4") for row in rows]
    if dimensions is not None:
        vectors = [_unit(vector[:dimensions]).astype("<f4") for vector in vectors]
    return vectors, sum(map(len, rows))


def _cosines(service: Service, query: str, documents: Sequence[str]) -> Scores:
    """Return the cosine of the angle between the pooled vectors of the query and of each document."""
    vectors, count = _pooled(service, [query, *documents])
    first, *others = map(_unit, vectors)
    return [float(first @ other) for other in others], count


def _class_scores(service: Service, query: str, documents: Sequence[str]) -> Scores:
    """Return the score of each pair of query and document, of a model with one class."""
    engine, classes = service.engine, service.manifest.classes
    if engine is None or classes is None or classes.per != "sequence" or len(classes.names) != 1:
        raise PromptError("model: the plan has several classes, and a reranker has one; use another model")
    if service.tokenizer is None:
        raise PromptError("model: the plan has no tokenizer, so that it ranks no texts; build it with --tokenizer")
    pairs = encode_texts(service.tokenizer, [(query, document) for document in documents])
    has_types = any(item.role == "token_types" for item in service.manifest.inputs)
    logits = [engine.classify([pair.ids], [pair.types] if has_types else None)[0] for pair in pairs]
    found = [float(class_scores(row, classes.activation)[0]) for row in logits]
    return found, sum(len(pair.ids) for pair in pairs)


_MEASURES: dict[OutputRole, Callable[[Service, str, Sequence[str]], Scores]] = {
    "classes": _class_scores,
    "pooled": _cosines,
}
"""The relevance that follows from an output of a plan, by the output's role; the first one that a plan has counts."""


def _relevance(service: Service, query: str, documents: Sequence[str]) -> Scores:
    roles = {output.role for output in service.manifest.outputs}
    measure = next((measure for role, measure in _MEASURES.items() if role in roles), _cosines)
    return measure(service, query, documents)


def _unit(vector: Floats) -> NDArray[np.float64]:
    """Return a vector divided by its Euclidean norm; zeros as they are."""
    exact = vector.astype(np.float64)
    return exact / (np.linalg.norm(exact) or 1.0)
