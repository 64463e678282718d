"""Requests that are refused: each has a status, and OpenAI's error object."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from hypothesis import HealthCheck, given, settings

from archc.runtime.serving.service import ServiceOptions
from archc.serve.options import ServeOptions
from tests.archc.serve import malformed
from tests.archc.serve.conftest import Running

CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"
USER = [{"role": "user", "content": "Hi"}]


def check_error(answer: httpx.Response, status: int) -> Any:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str)
    assert error["message"]
    return error


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (TEXT, {}, "prompt"),
        (TEXT, {"prompt": ""}, "prompt"),
        (TEXT, {"prompt": None}, "prompt"),
        (TEXT, {"prompt": []}, "prompt"),
        (TEXT, {"prompt": [[]]}, "prompt[0]"),
        (TEXT, {"prompt": ["a", 1]}, "prompt"),
        (TEXT, {"prompt": [1, -1]}, "prompt"),
        (TEXT, {"prompt": [10**9]}, "prompt"),
        (TEXT, {"prompt": [2**70]}, "prompt"),
        (TEXT, {"prompt": "a", "max_tokens": "5"}, "max_tokens"),
        (TEXT, {"prompt": "a", "max_tokens": 0}, "max_tokens"),
        (TEXT, {"prompt": "a", "max_tokens": True}, "max_tokens"),
        (TEXT, {"prompt": "a", "temperature": -1}, "temperature"),
        (TEXT, {"prompt": "a", "top_p": 1.5}, "top_p"),
        (TEXT, {"prompt": "a", "stop": ["b", ""]}, "stop"),
        (TEXT, {"prompt": "a", "n": 0}, "n"),
        (TEXT, {"prompt": "a", "n": 100}, "n"),
        (TEXT, {"prompt": "a", "logprobs": 21}, "logprobs"),
        (TEXT, {"prompt": "a", "suffix": "b"}, "suffix"),
        (TEXT, {"prompt": "a", "stream_options": 3}, "stream_options"),
        (TEXT, {"prompt": "a", "logit_bias": {"a": 1}}, "logit_bias"),
        (CHAT, {}, "messages"),
        (CHAT, {"messages": []}, "messages"),
        (CHAT, {"messages": [3]}, "messages[0]"),
        (CHAT, {"messages": [{"content": "Hi"}]}, "messages[0].role"),
        (CHAT, {"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        (CHAT, {"messages": [{"role": "user"}]}, "messages[0].content"),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0]"),
        (CHAT, {"messages": USER, "top_logprobs": 2}, "top_logprobs"),
        ("/v1/embeddings", {"input": "a"}, "model"),
        ("/tokenize", {}, "prompt"),
        ("/detokenize", {"tokens": [-1]}, "tokens[0]"),
        ("/detokenize", {"tokens": [2**40]}, "tokens[0]"),
    ],
    ids=lambda value: json.dumps(value)[:50],
)
def test_invalid_requests(server: Running, path: str, body: object, param: str | None) -> None:
    assert check_error(server.post(path, body), 400)["param"] == param


def test_clients_get_exceptions_of_their_kind(server: Running) -> None:
    with pytest.raises(openai.BadRequestError, match="temperature: expected a number of at least 0"):
        server.client.completions.create(model="tiny", prompt="a", temperature=-1)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"prompt": "\\ud800"}', b"null", b"NaN"])
def test_bodies_that_are_no_request(server: Running, body: bytes) -> None:
    with server.http as http:
        check_error(http.post(TEXT, content=body), 400)


def test_a_fault_of_the_server_is_in_its_log(
    server: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server.context.models, "find", None)
    error = check_error(server.post(TEXT, {"prompt": "a"}), 500)
    assert error["message"] == "the server failed; its log has the reason"
    assert "POST /v1/completions failed" in caplog.text
    assert "TypeError" in caplog.text


def test_unknown_fields_are_ignored(server: Running) -> None:
    answer = server.post(TEXT, {"prompt": "5+5=", "max_tokens": 2, "no_such_field": {"a": [1]}, "user": "u"})
    assert answer.json()["choices"][0]["text"] == "10"


def test_unknown_endpoints_and_methods(server: Running) -> None:
    check_error(server.post("/v1/nothing", {}), 404)
    check_error(server.post("/../etc/passwd", {}), 404)
    with server.http as http:
        check_error(http.get(TEXT), 405)
        check_error(http.get("/v1/models/..%2F..%2Fetc%2Fpasswd"), 404)


def test_prompts_at_and_past_the_limit(server: Running) -> None:
    last = server.post(TEXT, {"prompt": [1] * 511, "max_tokens": 9, "ignore_eos": True}).json()
    assert (last["usage"]["completion_tokens"], last["choices"][0]["finish_reason"]) == (1, "length")
    for length in (512, 513, 300_000):
        error = check_error(server.post(TEXT, {"prompt": [1] * length}), 400)
        assert "fewer than 512 tokens" in error["message"]
        assert error["code"] == "context_length_exceeded"
    error = check_error(server.post(CHAT, {"messages": [{"role": "user", "content": "a b " * 2000}]}), 400)
    assert error["code"] == "context_length_exceeded"


def test_bodies_past_the_limit(qwen: Path, serving: Callable[..., Any]) -> None:
    with serving([str(qwen)], ServeOptions(ServiceOptions(slots=1, threads=1), max_body=1000)) as small:
        check_error(small.post(TEXT, {"prompt": "a" * 1000}), 413)
        with small.http as http:
            check_error(http.post(TEXT, content=iter([b" " * 600, b" " * 600])), 413)
        assert small.post(TEXT, {"prompt": "5+5=", "max_tokens": 2}).status_code == 200


def test_several_models_keys_and_origins(qwen: Path, bert: Path, serving: Callable[..., Any]) -> None:
    size = qwen.stat().st_size
    options = ServeOptions(
        ServiceOptions(slots=1, threads=1), api_key="secret", cors=("https://a.example",), max_memory=size * 3 // 2
    )
    with serving([f"one={qwen}", f"two={qwen}", f"encoder={bert}"], options) as several:
        for headers in ({}, {"Authorization": "Bearer other"}, {"Authorization": "secret"}):
            with several.http as http:
                error = check_error(http.post(TEXT, json={"model": "one", "prompt": "a"}, headers=headers), 401)
                assert error["code"] == "invalid_api_key"
        with several.http as http:
            assert http.get("/health").status_code == 200
            http.headers["Authorization"] = "Bearer secret"
            for name in ("one", "two", "one"):
                answer = http.post(TEXT, json={"model": name, "prompt": "37+85=", "max_tokens": 4}).json()
                assert (answer["model"], answer["choices"][0]["text"]) == (name, "122")
                listed = http.get("/v1/models").json()["data"]
                assert [model["id"] for model in listed if model["loaded"]] == [name]
            assert check_error(http.post(TEXT, json={"model": "x", "prompt": "a"}), 404)["code"] == "model_not_found"
            check_error(http.post(TEXT, json={"prompt": "a"}), 400)
            check_error(http.post(TEXT, json={"model": "encoder", "prompt": [1]}), 400)
            asked = {"method": "POST", "headers": "authorization"}
            preflight = {f"Access-Control-Request-{name}": value for name, value in asked.items()}
            for origin, status in (("https://a.example", 200), ("https://b.example", 400)):
                assert http.options(TEXT, headers={"Origin": origin, **preflight}).status_code == status


def _check_malformed(server: Running, path: str, content: bytes) -> None:
    with server.http as http:
        answer = http.post(path, content=content)
    if answer.status_code == 200:
        if answer.headers["content-type"].startswith("text/event-stream"):
            assert re.search(r'(data: \[DONE\]|"sequence_number":\d+})\n\n\Z', answer.text)
            assert "server failed" not in answer.text
        else:
            answer.json()
    else:
        check_error(answer, 400)


_SETTINGS = settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)


@settings(_SETTINGS, max_examples=150)
@given(request=malformed.requests())
def test_malformed_requests(server: Running, request: tuple[str, bytes]) -> None:
    _check_malformed(server, *request)


@settings(_SETTINGS, max_examples=60)
@given(request=malformed.damaged())
def test_damaged_requests(server: Running, request: tuple[str, bytes]) -> None:
    _check_malformed(server, *request)


@pytest.mark.slow
@settings(_SETTINGS, max_examples=10_000)
@given(request=malformed.requests() | malformed.damaged())
def test_many_malformed_requests(server: Running, request: tuple[str, bytes]) -> None:
    _check_malformed(server, *request)
    server.wait_until_idle()
