"""Embeddings and reranking over HTTP, against sentence-transformers on the checkpoint of the plan."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from archc.compiler.build import build
from tests.archc.serve.conftest import Running, running
from tests.compiler.weights.checkpoint.sentence_folders import WORDS, write_sentence_transformer

TEXTS = ["w1 w2 w3", "w9", "w3 w3 w12 w29", "w2 w1 w3 w4"]
PATH, RANK = "/v1/embeddings", "/v1/rerank"


@dataclass
class Encoder:
    """A server of an encoder, and the vectors of the library that wrote its checkpoint."""

    server: Running
    vectors: np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Encoder]:
    folder = tmp_path_factory.mktemp("sentences")
    model = write_sentence_transformer(folder, "mean", False)
    plan = build(folder / "sentences", out=folder / "sentences.plan")
    with running([str(plan)]) as server:
        yield Encoder(server, model.encode(TEXTS))


def test_the_client_reads_the_vectors(encoder: Encoder) -> None:
    # OpenAI's client asks for base64 by itself.
    answer = encoder.server.client.embeddings.create(model="sentences", input=TEXTS)
    assert [item.index for item in answer.data] == [0, 1, 2, 3]
    assert np.array([item.embedding for item in answer.data]) == pytest.approx(encoder.vectors, abs=1e-5)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == sum(len(text.split()) for text in TEXTS)


def test_formats_and_ids(encoder: Encoder) -> None:
    ids = [[WORDS.index(word) for word in text.split()] for text in TEXTS]
    for asked, expected in ((TEXTS[0], encoder.vectors[:1]), (ids[0], encoder.vectors[:1]), (ids, encoder.vectors)):
        body = {"model": "sentences", "input": asked}
        plain = encoder.server.post(PATH, {**body, "encoding_format": "float"}).json()["data"]
        assert np.array([item["embedding"] for item in plain]) == pytest.approx(expected, abs=1e-5)
        packed = encoder.server.post(PATH, {**body, "encoding_format": "base64"}).json()["data"]
        rows = [np.frombuffer(base64.b64decode(item["embedding"]), "<f4") for item in packed]
        assert [row.tolist() for row in rows] == [item["embedding"] for item in plain]


def test_dimensions_are_the_first_ones_at_unit_length(encoder: Encoder) -> None:
    answer = encoder.server.client.embeddings.create(model="sentences", input=TEXTS, dimensions=5)
    expected = encoder.vectors[:, :5] / np.linalg.norm(encoder.vectors[:, :5], axis=-1, keepdims=True)
    assert np.array([item.embedding for item in answer.data]) == pytest.approx(expected, abs=1e-5)


def test_documents_are_ordered_by_cosine(encoder: Encoder) -> None:
    query, *documents = TEXTS
    units = encoder.vectors / np.linalg.norm(encoder.vectors, axis=-1, keepdims=True)
    cosines = units[1:] @ units[0]
    order = np.argsort(-cosines).tolist()
    body: dict[str, Any] = {"model": "sentences", "query": query, "documents": documents}
    answer = encoder.server.post(RANK, body).json()
    assert [result["index"] for result in answer["results"]] == order
    assert [result["relevance_score"] for result in answer["results"]] == pytest.approx(cosines[order], abs=1e-5)
    assert all("document" not in result for result in answer["results"])
    assert answer["usage"]["total_tokens"] == sum(len(text.split()) for text in TEXTS)

    documents[1] = {"text": documents[1], "title": "a"}
    answer = encoder.server.post(RANK, {**body, "documents": documents, "top_n": 2, "return_documents": True}).json()
    assert [result["index"] for result in answer["results"]] == order[:2]
    assert [result["document"]["text"] for result in answer["results"]] == [TEXTS[1 + index] for index in order[:2]]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (PATH, {"input": "w1", "dimensions": 0}, "dimensions"),
        (PATH, {"input": "w1", "dimensions": 33}, "dimensions"),
        (PATH, {"input": [[1], "w1"]}, "input"),
        (PATH, {"input": []}, "input"),
        (PATH, {"input": "w1 " * 17}, "input"),
        (PATH, {"input": "w1", "encoding_format": "hex"}, "encoding_format"),
        (RANK, {"documents": ["w1"]}, "query"),
        (RANK, {"query": "w1", "documents": []}, "documents"),
        (RANK, {"query": "w1", "documents": [3]}, "documents[0]"),
        (RANK, {"query": "w1", "documents": [{"title": "a"}]}, "documents[0].text"),
        (RANK, {"query": "w1", "documents": ["w1"], "top_n": 0}, "top_n"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_invalid_requests(encoder: Encoder, path: str, body: object, param: str | None) -> None:
    answer = encoder.server.post(path, body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


@pytest.mark.parametrize("body", [{"input": "a"}, {"query": "a", "documents": ["b"]}], ids=["embeddings", "rerank"])
def test_a_decoder_has_no_vectors(server: Running, body: dict[str, Any]) -> None:
    answer = server.post(PATH if "input" in body else RANK, body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "model")
