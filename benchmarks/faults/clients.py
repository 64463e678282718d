"""Clients that go in the middle of a stream, clients that do not read, and servers that end under load."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import statistics
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.faults.server import LONG, TEXT, Server, check, served

_RESET = struct.pack("ii", 1, 0)  # of SO_LINGER: closing sends a reset


def dropped(plan: Path, count: int) -> str:
    """Drop clients in the middle of their streams, by turns in order and by a reset."""
    with served(plan, "--queue", "64") as server:
        expected = server.ids(LONG)
        _drop(server, count)  # the first requests fill caches of all kinds
        server.wait_until_idle()
        canceled, memory = server.count("canceled_total"), server.memory
        _drop(server, count)
        seconds = server.wait_until_idle()
        canceled = server.count("canceled_total") - canceled
        growth = server.memory / memory - 1
        check(server.ids(LONG) == expected, "the answer afterwards is another one")
        check(growth < 0.02, f"memory grew by {growth:.1%}")
        return f"{canceled:.0f} of {count} canceled, all slots free {seconds:.2f} s later, memory {growth:+.1%}"


def _drop(server: Server, count: int) -> None:
    def drop(number: int) -> None:
        with server.connect({**LONG, "stream": True}) as connection:
            received = b""
            while b"data: " not in received:
                received += connection.recv(4096)
                check(received.startswith(b"HTTP/1.1 200"), f"a client got {received[:100]!r}")
            if number % 2:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    with ThreadPoolExecutor(24) as pool:
        list(pool.map(drop, range(count)))


def slow_readers(plan: Path, count: int) -> str:
    """Measure a quick reader alone, and next to clients that do not read their streams."""
    big = {**LONG, "max_tokens": 500, "n": 8, "stream": True, "logprobs": 20}
    with served(plan, "--queue", str(8 * count)) as server:
        expected = server.ids(LONG)
        alone = statistics.median(_seconds(server) for _ in range(5))
        canceled, memory = server.count("canceled_total"), server.memory
        connections = [server.connect(big, buffer=2048) for _ in range(count)]
        while server.count("active") < 8:
            time.sleep(0.01)
        server.wait_until_idle(600)
        canceled = server.count("canceled_total") - canceled
        growth = server.memory - memory
        after = statistics.median(_seconds(server) for _ in range(5))
        check(server.ids(LONG) == expected, "an answer next to slow readers is another one")
        for connection in connections:
            connection.close()
        server.wait_until_idle()
        check(canceled, "no answer was canceled; is the model too quick to answer")
        check(
            after < 1.5 * alone, f"an answer next to clients that do not read takes {after / alone:.1f} times as long"
        )
        return (
            f"{count} clients with 8 answers each that they do not read: slots free, {canceled:.0f} answers canceled, "
            f"memory {growth / 2**20:+.1f} MiB; an answer to another client {alone:.2f} s before, {after:.2f} s "
            "next to them"
        )


def _seconds(server: Server) -> float:
    begin = time.monotonic()
    server.ids(LONG)
    return time.monotonic() - begin


def replaced(plan: Path, count: int) -> str:
    """Replace the plan on disk by another file while requests run."""
    copy = plan.with_name(f"{plan.stem}-served.plan")
    shutil.copy(plan, copy)
    try:
        with served(copy) as server, ThreadPoolExecutor(8) as pool:
            expected = server.ids(LONG)
            answers = [pool.submit(server.ids, LONG) for _ in range(count)]
            other = copy.with_suffix(".other")
            for _ in range(10):
                other.write_bytes(os.urandom(1 << 16))
                other.replace(copy)
                time.sleep(0.05)
            wrong = sum(answer.result() != expected for answer in answers)
            check(not wrong, f"{wrong} answers are other ones")
            return f"{count} answers while the file was replaced 10 times: all as before"
    finally:
        copy.unlink()


def ended(plan: Path, count: int) -> str:
    """End a server by SIGTERM while it has many streams."""
    with served(plan, "--queue", str(count)) as server:
        expected, results = server.ids(LONG), list[tuple[list[int], bytes]]()
        threads = [threading.Thread(target=lambda: results.append(_stream(server))) for _ in range(count)]
        for thread in threads:
            thread.start()
        while server.count("active") + server.count("waiting") < count:
            time.sleep(0.01)
        begin = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        while server.http.get("/health").status_code != 503:
            time.sleep(0.01)
        refused = server.post(LONG).status_code
        for thread in threads:
            thread.join()
        code = server.process.wait(60)
        seconds = time.monotonic() - begin
        whole = sum(ids == expected and end == b"data: [DONE]" for ids, end in results)
        check(whole == count, f"{count - whole} streams are not whole")
        check(refused == 503, f"a new request got status {refused}")
        check(code == 0, f"the exit code is {code}")
        return f"{count} streams: {whole} whole, a new request 503, exit code {code} after {seconds:.1f} s"


def _stream(server: Server) -> tuple[list[int], bytes]:
    """Return the tokens of a streamed answer, and its last line."""
    ids, last = list[int](), b""
    body: dict[str, Any] = {**LONG, "stream": True, "return_token_ids": True}
    with server.http.stream("POST", TEXT, json=body) as answer:
        for line in answer.iter_lines():
            last = line.encode() or last
            if line.startswith("data: {"):
                ids += json.loads(line[6:])["choices"][0].get("token_ids") or []
    return ids, last
