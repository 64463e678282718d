"""A server process under test, with its memory, its log and its counts."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

TEXT = "/v1/completions"
LONG = {"prompt": [1, 2, 3], "max_tokens": 200, "ignore_eos": True, "temperature": 0}


class FaultError(Exception):
    """A fault that the server did not survive."""


def check(condition: object, message: str) -> None:
    """Raise FaultError unless a condition holds."""
    if not condition:
        raise FaultError(message)


class Server:
    """An `archc serve` that runs."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, log: Path) -> None:
        self.process, self.url, self._log = process, url, log
        self.port = int(url.rpartition(":")[2])
        self.http = httpx.Client(base_url=url, timeout=120, verify=False)  # noqa: S501, loopback only

    @property
    def memory(self) -> int:
        """Return the resident bytes of the process."""
        text = Path(f"/proc/{self.process.pid}/status").read_text("utf-8")
        found = re.search(r"VmRSS:\s+(\d+) kB", text)
        assert found is not None
        return int(found[1]) << 10

    @property
    def log(self) -> str:
        """Return all that the process has written to stderr."""
        return self._log.read_text("utf-8", "replace")

    def count(self, name: str) -> float:
        """Return a figure of /metrics, summed over its labels."""
        lines = self.http.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if re.match(rf"archc_{name}[ {{]", line))

    def wait_until_idle(self, seconds: float = 30) -> float:
        """Wait until no answer has a slot or waits for one; return the seconds that took."""
        begin = time.monotonic()
        while self.count("active") or self.count("waiting"):
            check(time.monotonic() < begin + seconds, f"slots are not free after {seconds} s")
            time.sleep(0.02)
        return time.monotonic() - begin

    def post(self, body: dict[str, Any], path: str = TEXT) -> httpx.Response:
        """Return the answer to a JSON body."""
        return self.http.post(path, json=body)

    def ids(self, body: dict[str, Any]) -> list[int]:
        """Return the tokens of an answer."""
        answer = self.post({**body, "return_token_ids": True})
        check(answer.status_code == 200, f"status {answer.status_code}: {answer.text[:200]}")
        ids: list[int] = answer.json()["choices"][0]["token_ids"]
        return ids

    def connect(self, body: dict[str, Any], buffer: int | None = None) -> socket.socket:
        """Send a request, and return its connection; `buffer` is the size of the receiving one."""
        connection = socket.socket()
        if buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        connection.settimeout(120)
        connection.connect(("127.0.0.1", self.port))
        content = json.dumps(body).encode()
        head = f"POST {TEXT} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(content)}\r\n\r\n"
        connection.sendall(head.encode() + content)
        return connection


@contextmanager
def served(plan: Path, *options: str) -> Iterator[Server]:
    """Run a server of a plan; at the end, check that it is alive or ended in order, and has no traceback in its log."""
    command = [sys.executable, "-m", "archc", "serve", str(plan), "--port", "0", *options]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        with log.open("wb") as errors, subprocess.Popen(command, stderr=errors) as process:
            try:
                server = Server(process, _url(process, log), log)
                yield server
                check(process.poll() in (None, 0), f"the server ended with {process.poll()}: {server.log[-500:]}")
                check("Traceback" not in server.log, server.log[-2000:])
            finally:
                process.kill()


def _url(process: subprocess.Popen[bytes], log: Path) -> str:
    while process.poll() is None:
        if found := re.search(r"(http://\S+)/v1\n", log.read_text("utf-8")):
            return found[1]
        time.sleep(0.05)
    raise FaultError(f"the server has not started: {log.read_text('utf-8')}")
