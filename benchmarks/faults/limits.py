"""Prompts at and past the limit, and grammars that explode."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.faults.server import LONG, TEXT, Server, check, served


def prompts(plan: Path, count: int) -> str:
    """Ask with prompts at, past and far past the plan's maximum, and past the server's limit of a body."""
    shown = list[str]()
    with served(plan) as server:
        limit = server.http.get("/v1/models").json()["data"][0]["meta"]["max_seq_len"]
        wanted = {limit - 1: 200, limit: 400, limit + 1: 400, 1000 * limit: 400, 8 << 20: 413}
        for length, status in wanted.items():
            begin = time.monotonic()
            answer = server.post({**LONG, "prompt": [1] * length})
            seconds = time.monotonic() - begin
            check(answer.status_code == status, f"status {answer.status_code} for {length} tokens")
            if status == 200:
                check(answer.json()["usage"]["completion_tokens"] == 1, "expected one token")
            shown.append(f"{length:,}: {status} in {seconds:.2f} s")
        memory = list[int]()
        for _ in range(2):
            for _ in range(count):
                check(server.post({**LONG, "prompt": [1] * 1000 * limit}).status_code == 400, "expected 400")
            memory.append(server.memory)
        growth = memory[1] / memory[0] - 1
        check(growth < 0.02, f"memory grew by {growth:.1%}")
    return f"tokens and status: {', '.join(shown)}; {count} more far past the limit: memory {growth:+.1%}"


def _nested(depth: int, inner: Any) -> Any:
    for _ in range(depth):
        inner = {"type": "object", "properties": {"a": inner, "b": inner}, "required": ["a", "b"]}
    return inner


EXPLODING: dict[str, dict[str, Any]] = {
    "objects in objects, 2^12 of them": {"schema": _nested(12, {"type": "string"})},
    "a regular expression of 10^9 states": {"regex": "((a{1,1000}){1,1000}b){1,1000}"},
    "a class repeated 10^6 times": {"regex": "[a-zA-Z ]{1000000}"},
    "an array of 10^9 items": {"schema": {"type": "array", "items": {"type": "integer"}, "minItems": 10**9}},
    "a string of 10^8 characters": {"schema": {"type": "string", "minLength": 10**8}},
    "20,000 names": {"schema": {"enum": [f"{number}" * 5 for number in range(20_000)]}},
    "a schema that refers to itself alone": {"schema": {"$ref": "#"}},
    "ambiguous rules": {"grammar": 'start: a*\na: b | b b | a a\nb: "x" | "x" "x" | a b\n'},
    "conditions that are all ORed and ANDed": {
        "schema": {"allOf": [{"anyOf": [{"pattern": f"{a}.*{b}"} for a in "abcdef"]} for b in "ghijklmn"]}
    },
}


def schemas(plan: Path, count: int) -> str:
    """Ask for answers under grammars that explode, next to a stream whose longest gap is measured."""
    with served(plan, "--timeout", "30") as server:
        _gap(server, lambda: None)
        quiet = _gap(server, lambda: time.sleep(1))
        statuses, slowest = list[int](), 0.0

        def ask() -> None:
            nonlocal slowest
            for number in range(count):
                for name, body in EXPLODING.items():
                    begin = time.monotonic()
                    statuses.append(_status(server, name, {**body, "seed": number}))
                    slowest = max(slowest, time.monotonic() - begin)

        busy = _gap(server, ask)
        ask()
        memory = server.memory
        ask()
        growth = server.memory / memory - 1
        server.wait_until_idle()
        check(growth < 0.02, f"memory grew by {growth:.1%} in the second round")
        answered = statuses.count(200)
        return (
            f"{len(statuses)} requests with {len(EXPLODING)} grammars: {answered} answered, {statuses.count(400)} "
            f"refused with 400; slowest {slowest:.1f} s; longest gap between tokens of another stream "
            f"{1e3 * busy:.0f} ms, {1e3 * quiet:.0f} ms without; memory of the second round {growth:+.1%}"
        )


def _status(server: Server, name: str, body: dict[str, Any]) -> int:
    asked = {"prompt": "a", "max_tokens": 20, **{key: value for key, value in body.items() if key != "schema"}}
    if "schema" in body:
        asked["response_format"] = {"type": "json_schema", "json_schema": {"name": "a", "schema": body["schema"]}}
    answer = server.post(asked)
    check(answer.status_code in (200, 400), f"{name}: status {answer.status_code}: {answer.text[:200]}")
    return answer.status_code


def _gap(server: Server, work: Callable[[], None]) -> float:
    """Return the longest time between two events of a stream while work is done."""
    gaps, done = list[float](), threading.Event()

    def listen() -> None:
        while not done.is_set():
            with server.http.stream("POST", TEXT, json={**LONG, "stream": True}) as answer:
                last = None
                for line in answer.iter_lines():
                    if line.startswith("data: {"):
                        now = time.monotonic()
                        gaps.append(0.0 if last is None else now - last)
                        last = now

    thread = threading.Thread(target=listen)
    thread.start()
    work()
    done.set()
    thread.join()
    return max(gaps)
