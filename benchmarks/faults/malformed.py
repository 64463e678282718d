"""Requests that hypothesis makes: over the schema of the API, damaged, and raw bytes."""

from __future__ import annotations

import json
import re
import socket
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from benchmarks.faults.server import Server, check, served
from tests.archc.serve import malformed

_SECONDS = 20  # that no request may take


def malformed_requests(plan: Path, count: int) -> str:
    """Send requests of three kinds, each with an answer in order: a status below 500 with a body in its form."""
    statuses, slowest = Counter[str](), 0.0
    with served(plan) as server:

        def send(request: tuple[str, bytes]) -> None:
            nonlocal slowest
            begin = time.monotonic()
            statuses[_send(server, *request)] += 1
            slowest = max(slowest, time.monotonic() - begin)

        def connect(content: bytes) -> None:
            statuses[_connect(server, content)] += 1

        _run(malformed.requests(), send, count // 2)
        _run(malformed.damaged(), send, count // 4)
        _run(malformed.raw(), connect, count // 4)
        server.wait_until_idle()
        check(server.ids({"prompt": "37+85=", "max_tokens": 4, "temperature": 0}), "no answer afterwards")
        check("Traceback" not in server.log, server.log[-2000:])
    shown = ", ".join(f"{status}: {number}" for status, number in sorted(statuses.items()))
    return f"{sum(statuses.values())} requests, by status {shown}; slowest {slowest:.2f} s, no traceback"


def _run(strategy: st.SearchStrategy[Any], function: Callable[[Any], None], count: int) -> None:
    options = settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    seed(0)(options(given(strategy)(function)))()


def _send(server: Server, path: str, content: bytes) -> str:
    answer = server.http.post(path, content=content, timeout=_SECONDS)
    check(answer.status_code in (200, 400), f"status {answer.status_code} for {path} {content!r}: {answer.text[:300]}")
    if answer.status_code != 200:
        check(answer.json()["error"]["message"], f"no message for {path} {content!r}")
    elif answer.headers["content-type"].startswith("text/event-stream"):
        is_whole = re.search(r'(data: \[DONE\]|"sequence_number":\d+})\n\n\Z', answer.text)
        check(is_whole and "server failed" not in answer.text, f"a broken stream for {path} {content!r}")
    else:
        json.loads(answer.content)
    return str(answer.status_code)


def _connect(server: Server, content: bytes) -> str:
    """Send bytes, and close the sending side; return the status, if there is one before the connection ends."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=_SECONDS) as connection:
        answer = b""
        try:
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(1 << 16):
                answer += part
        except ConnectionError:
            return "closed"  # by the server, before it has read everything
    found = re.match(rb"HTTP/1\.1 (\d{3})", answer)
    check(found or not answer, f"no HTTP for {content!r}: {answer[:100]!r}")
    check(found is None or found[1] < b"500", f"{answer[:200]!r} for {content!r}")
    return found[1].decode() if found is not None else "closed"
