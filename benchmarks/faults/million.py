"""Many tokens, with flat memory."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.faults.server import LONG, Server, check, served

CLIENTS, LONGEST = 12, 300


def tokens(plan: Path, count: int) -> str:
    """Serve tokens of prompts and answers of random lengths, streamed and whole, and compare memory on the way."""
    with served(plan, "--slots", "8") as server:
        # Memory that was in use once stays with the process: as much at a time as there ever is, then half as many.
        _load(server, lambda chooser, number: _body(chooser, 200, LONGEST, 4, number % 2 == 0), lambda sent: sent < 8)
        _serve(server, count / 2)
        before, memory = server.count("new_tokens_total"), [server.memory]
        begin = time.monotonic()
        for _ in range(10):
            _serve(server, count / 10)
            memory.append(server.memory)
        seconds = time.monotonic() - begin
        generated = server.count("new_tokens_total") - before
        spread = max(memory) / memory[0] - 1
        check(spread < 0.02, f"memory grew by {spread:.1%}: {[number >> 10 for number in memory]}")
        check(not server.count("failed_total"), "requests failed")
        return (
            f"{generated:,.0f} tokens in {seconds:.0f} s; memory after half as many before {memory[0] / 2**20:.1f} "
            f"MiB, then at most {spread:+.1%}"
        )


def _serve(server: Server, count: float) -> None:
    """Send random requests until there are so many more tokens."""
    until = server.count("new_tokens_total") + count
    _load(server, lambda chooser, _: _random_body(chooser), lambda _: server.count("new_tokens_total") < until)


def _random_body(chooser: random.Random) -> dict[str, Any]:
    lengths = chooser.randint(1, 200), chooser.randint(1, LONGEST), chooser.randint(1, 4)
    return _body(chooser, *lengths, chooser.random() < 0.5)


def _body(chooser: random.Random, length: int, new: int, count: int, is_stream: bool) -> dict[str, Any]:
    prompt = [chooser.randrange(1000) for _ in range(length)]
    body = {**LONG, "prompt": prompt, "max_tokens": new, "n": count, "stream": is_stream}
    return {**body, "temperature": chooser.choice((0, 1))}


def _load(server: Server, body: Callable[[random.Random, int], dict[str, Any]], goes_on: Callable[[int], bool]) -> None:
    """Send requests of many clients, each while `goes_on` of the number that it has sent."""
    errors = list[Exception]()

    def converse(number: int) -> None:
        chooser, sent = random.Random(number), 0  # noqa: S311, prompts
        try:
            while goes_on(sent):
                answer = server.post(body(chooser, number))
                check(answer.status_code == 200, f"status {answer.status_code}: {answer.text[:200]}")
                sent += 1
        except Exception as error:  # raised below
            errors.append(error)

    threads = [threading.Thread(target=converse, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
