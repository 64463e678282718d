"""The gateway in front of replicas that die, and of a genuine one in the same process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import Message

from archc.runtime.serving.service import ServiceOptions
from archc.serve.options import ServeOptions
from archc.serve.ray.gateway import Forwarded, ReplicaLostError, ReplicasFullError, create_gateway
from archc.serve.ray.replica import Replica

STREAM: Message = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/event-stream; charset=utf-8")],
}


def part(body: bytes, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}


class Scripted:
    """Replicas, one for each attempt, that yield messages or raise."""

    def __init__(self, *attempts: list[list[Message] | Exception]) -> None:
        self._attempts = list(attempts)
        self.keys = list[str]()

    async def answer(self, key: str, request: Forwarded) -> AsyncIterator[list[Message]]:
        self.keys.append(key)
        for step in self._attempts[len(self.keys) - 1]:
            if isinstance(step, Exception):
                raise step
            yield step


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archc.serve.ray.gateway._PAUSE_S", 0)


def ask(replicas: Any, body: Any = None, path: str = "/v1/completions", **options: Any) -> httpx.Response:
    async def post() -> httpx.Response:
        app = create_gateway(replicas, options.pop("max_body", 1000), attempts=3)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
            return await client.post(path, json=body or {"prompt": "a"}, **options)

    return asyncio.run(post())


LOST = ReplicaLostError("ActorDiedError")


@pytest.mark.parametrize("first", [[LOST], [[STREAM], LOST]], ids=["at once", "after the head"])
def test_a_request_that_was_lost_before_its_first_token_is_repeated(first: list[Any]) -> None:
    replicas = Scripted(first, [LOST], [[STREAM, part(b"data: 1\n\n")], [part(b"data: [DONE]\n\n", more=False)]])
    answer = ask(replicas)
    assert (answer.status_code, answer.text) == (200, "data: 1\n\ndata: [DONE]\n\n")
    assert len(replicas.keys) == 3
    assert len(set(replicas.keys)) == 1


def test_a_stream_that_breaks_after_its_first_token_ends_with_an_error_event() -> None:
    replicas = Scripted([[STREAM], [part(b"data: 1\n\n")], LOST])
    first, error, done = ask(replicas).text.strip().split("\n\n")
    assert (first, done) == ("data: 1", "data: [DONE]")
    message = json.loads(error.removeprefix("data: "))["error"]["message"]
    assert message.startswith("the replica of this answer has died")
    assert len(replicas.keys) == 1


def test_a_request_that_every_replica_loses_has_status_503() -> None:
    answer = ask(Scripted([LOST], [LOST], [LOST]))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "lost with 3 replicas" in answer.json()["error"]["message"]


def test_full_replicas_have_status_429() -> None:
    answer = ask(Scripted([ReplicasFullError()]))
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert answer.json()["error"]["code"] == "rate_limit_exceeded"


def test_a_long_body_has_status_413_and_reaches_no_replica() -> None:
    replicas = Scripted([LOST])
    assert ask(replicas, {"prompt": "a" * 1000}).status_code == 413
    assert replicas.keys == []


def test_a_gateway_has_no_metrics_of_one_replica() -> None:
    replicas = Scripted([LOST])
    assert ask(replicas, path="/metrics").status_code == 404
    assert replicas.keys == []


@pytest.fixture(scope="module")
def options() -> ServeOptions:
    return ServeOptions(ServiceOptions(slots=2, queue=2, threads=1), api_key="secret", max_body=10_000)


def with_replica(plan: Path, options: ServeOptions, use: Callable[[Replica], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        replica = Replica([f"tiny={plan}"], options)
        try:
            await replica.check_health()
            return await use(replica)
        finally:
            replica.close()

    return asyncio.run(run())


def test_a_replica_answers_as_archc_serve_does(qwen: Path, options: ServeOptions) -> None:
    async def use(replica: Replica) -> list[httpx.Response]:
        transport = httpx.ASGITransport(create_gateway(replica, 10_000, attempts=1))
        headers = {"authorization": "Bearer secret"}
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway", headers=headers) as client:
            body = {"prompt": "37+85=", "max_tokens": 8, "stream": True}
            return [
                await client.post("/v1/completions", json={**body, "stream": False}),
                await client.post("/v1/completions", json=body),
                await client.post("/v1/completions", json={"prompt": 5}),
                await client.post("/v1/completions", json=body, headers={"authorization": "Bearer other"}),
                await client.get("/health"),
            ]

    whole, stream, wrong, unknown, health = with_replica(qwen, options, use)
    assert whole.json()["choices"][0]["text"] == "122"
    events = [json.loads(line[6:]) for line in stream.text.splitlines() if line.startswith("data: {")]
    assert "".join(event["choices"][0]["text"] for event in events) == "122"
    assert stream.text.endswith("data: [DONE]\n\n")
    assert (wrong.status_code, unknown.status_code, health.json()) == (400, 401, {"status": "ok"})


def test_the_end_of_a_call_frees_the_slots_of_a_replica(qwen: Path, options: ServeOptions) -> None:
    body = json.dumps({"prompt": "Once", "max_tokens": 400, "ignore_eos": True, "stream": True}).encode()
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": "/v1/completions",
        "query_string": b"",
        "headers": [(b"authorization", b"Bearer secret")],
    }

    async def use(replica: Replica) -> int:
        answer = replica.answer("", Forwarded(scope, body))
        while not any(message.get("body") for message in await anext(answer)):
            pass
        await answer.aclose()  # type: ignore[attr-defined]
        (model,) = replica._context.models
        assert model.service is not None
        await asyncio.to_thread(model.service.close, True)
        return model.service.statistics.canceled

    assert with_replica(qwen, options, use) == 1


def test_a_replica_whose_thread_has_ended_is_not_healthy(qwen: Path, options: ServeOptions) -> None:
    async def use(replica: Replica) -> None:
        (model,) = replica._context.models
        assert model.service is not None
        model.service.close()
        with pytest.raises(Exception, match="the computing thread has ended"):
            await replica.check_health()

    with_replica(qwen, options, use)
