"""Clients that go, readers that are slow, full queues, replaced plans, and signals."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from archc.runtime.serving.job import Token
from archc.runtime.serving.service import ServiceOptions
from archc.serve.feed import Feed, Mailbox
from archc.serve.options import ServeOptions
from tests.archc.serve.conftest import QUEUE, SLOTS, Running

TEXT = "/v1/completions"
LONG = {"prompt": [1, 2, 3], "max_tokens": 200, "ignore_eos": True, "temperature": 0}


def raw_request(body: dict[str, Any]) -> bytes:
    content = json.dumps(body).encode()
    return b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (len(content), content)


@contextmanager
def connected(server: Running, body: dict[str, Any]) -> Iterator[socket.socket]:
    port = int(server.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(raw_request(body))
        yield connection


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_clients_that_go_free_their_slots(server: Running, stream: bool) -> None:
    service = next(iter(server.context.models)).loaded
    canceled = service.statistics.canceled
    for _ in range(SLOTS + 2):
        with connected(server, {**LONG, "stream": stream, "n": 2}) as connection:
            if stream:
                connection.recv(200)
            else:
                time.sleep(0.05)
    server.wait_until_idle()
    assert service.statistics.canceled > canceled
    assert server.post(TEXT, {"prompt": "5+5=", "max_tokens": 2}).json()["choices"][0]["text"] == "10"


def test_a_full_queue_refuses(server: Running) -> None:
    with connected(server, {**LONG, "n": SLOTS + QUEUE, "stream": True}) as connection:
        connection.recv(200)
        with server.http as http:
            answer = http.post(TEXT, json={**LONG, "n": 2})
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.json()["error"]["code"] == "rate_limit_exceeded"
    server.wait_until_idle()


def test_requests_past_the_time_limit(qwen: Path, serving: Callable[..., Any]) -> None:
    with serving([str(qwen)], ServeOptions(ServiceOptions(slots=1, threads=1), timeout=0.02)) as hasty:
        answer = hasty.post(TEXT, LONG)
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")
        streamed = hasty.post(TEXT, {**LONG, "stream": True}).text
        assert '"code":"timeout"' in streamed
        assert streamed.endswith("data: [DONE]\n\n")


def test_plans_that_are_replaced_or_overwritten(qwen: Path, tmp_path: Path, serving: Callable[..., Any]) -> None:
    plan, other = tmp_path / "mine.plan", tmp_path / "other"
    shutil.copy(qwen, plan)
    ask = {"prompt": "37+85=", "max_tokens": 4}
    with serving([str(plan)]) as server:
        other.write_bytes(b"not a plan")
        kept = os.open(plan, os.O_RDWR)
        other.replace(plan)
        assert server.post(TEXT, ask).json()["choices"][0]["text"] == "122"
        os.utime(kept, (1, 1))
        os.close(kept)
        answer = server.post(TEXT, ask)
        assert answer.status_code == 503
        assert "overwritten" in answer.json()["error"]["message"]
        assert str(tmp_path) not in answer.text


def test_events_past_the_limit_of_a_slow_reader_are_dropped() -> None:
    async def check() -> None:
        overflows = list[str]()
        slow, quick = feeds = [Feed(mailbox := Mailbox()), Feed(mailbox)]
        for name, feed in zip(("slow", "quick"), feeds, strict=True):
            feed.on_overflow(lambda name=name: overflows.append(name), most=5)

        def post(feed: Feed, count: int) -> None:
            for token in range(count):
                feed.listener(0)(Token(token, "a", True))

        await asyncio.to_thread(post, slow, 8)
        await asyncio.to_thread(post, quick, 5)
        assert [event.id for _, event in await quick.take() if isinstance(event, Token)] == [0, 1, 2, 3, 4]
        assert overflows == ["slow"]
        assert len(await slow.take()) == 6

    asyncio.run(check())


def test_readers_that_stop_lose_their_answer(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Feed.on_overflow, "__defaults__", (20,))
    sent = list[dict[str, Any]]()
    bodies = [{"type": "http.request", "body": json.dumps({**LONG, "stream": True}).encode(), "more_body": False}]

    async def receive() -> Any:
        return bodies.pop() if bodies else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)
        if len(sent) > 2:
            await asyncio.Event().wait()

    scope = {"type": "http", "method": "POST", "path": TEXT, "headers": [], "query_string": b"", "root_path": ""}
    loop = server.context.mailbox._loop
    asyncio.run_coroutine_threadsafe(server.app(scope, receive, send), loop).result(60)  # type: ignore[arg-type]
    server.wait_until_idle()
    assert len(sent) == 3
    assert sent[-1]["more_body"]


@contextmanager
def process(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `archc serve` at a free port, and give its process and URL."""
    command = [sys.executable, "-m", "archc", "serve", *arguments, "--port", "0", "--threads", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        try:
            assert running.stderr is not None
            line = running.stderr.readline()
            assert " at http://127.0.0.1:" in line
            yield running, line.split()[-1].removesuffix("/v1")
        finally:
            running.kill()


def test_sigterm_ends_after_the_requests_that_run(qwen: Path) -> None:
    # One more client is open before the signal: to open one takes as long as a short answer.
    client = partial(httpx.Client, timeout=60, verify=False)
    with process(f"tiny={qwen}") as (running, url), client(base_url=url) as http, client() as other:
        with http.stream("POST", TEXT, json={**LONG, "n": 24, "stream": True}) as answer:
            lines = answer.iter_lines()
            assert next(lines).startswith("data: ")
            running.send_signal(signal.SIGTERM)
            wait_for(lambda: other.get(f"{url}/health").status_code == 503)
            refused = other.post(f"{url}{TEXT}", json=LONG)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
            rest = list(lines)
        assert sum('"finish_reason":"length"' in line for line in rest) == 24
        assert [line for line in rest if line][-1] == "data: [DONE]"
        assert running.wait(30) == 0


def test_a_second_signal_ends_at_once(qwen: Path) -> None:
    asked = {**LONG, "n": 60, "stream": True}
    with process(str(qwen)) as (running, url), httpx.stream("POST", f"{url}{TEXT}", json=asked, timeout=60) as answer:
        lines = answer.iter_lines()
        next(lines)
        reader = threading.Thread(target=lambda: [None for _ in ended(lines)])
        reader.start()
        running.send_signal(signal.SIGTERM)
        wait_for(lambda: httpx.get(f"{url}/health").status_code == 503)
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 130
        reader.join()


def ended(lines: Iterator[str]) -> Iterator[str]:
    """Yield lines until the connection ends, in whichever way."""
    with contextlib.suppress(httpx.HTTPError):
        yield from lines


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
