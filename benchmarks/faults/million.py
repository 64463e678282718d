"""Many tokens, with flat memory."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

from benchmarks.faults.server import LONG, Server, check, served


def tokens(plan: Path, count: int) -> str:
    """Serve tokens of prompts and answers of random lengths, streamed and whole, and compare memory on the way."""
    with served(plan, "--slots", "8") as server:
        marks = [(0.0, 0)]
        begin = time.monotonic()
        for part in range(1, 11):
            _serve(server, count * part // 10, part)
            marks.append((server.count("new_tokens_total"), server.memory))
        seconds = time.monotonic() - begin
        served_tokens = server.count("new_tokens_total")
        memory = [bytes_ for _, bytes_ in marks[1:]]
        spread = max(memory) / memory[0] - 1
        check(spread < 0.02, f"memory grew by {spread:.1%}: {[number >> 10 for number in memory]}")
        check(not server.count("failed_total"), "requests failed")
        return (
            f"{served_tokens:,.0f} tokens in {seconds:.0f} s; memory after the first tenth "
            f"{memory[0] / 2**20:.1f} MiB, then at most {spread:+.1%}"
        )


def _serve(server: Server, until: int, part: int) -> None:
    """Send requests of 12 clients until the server has generated so many tokens."""
    errors = list[Exception]()

    def converse(number: int) -> None:
        chooser = random.Random(f"{part} {number}")  # noqa: S311, prompts
        try:
            while server.count("new_tokens_total") < until:
                prompt = [chooser.randrange(1000) for _ in range(chooser.randint(1, 200))]
                body = {**LONG, "prompt": prompt, "max_tokens": chooser.randint(1, 300), "n": chooser.randint(1, 4)}
                body |= {"stream": chooser.random() < 0.5, "temperature": chooser.choice((0, 1))}
                answer = server.post(body)
                check(answer.status_code == 200, f"status {answer.status_code}: {answer.text[:200]}")
        except Exception as error:  # raised below
            errors.append(error)

    threads = [threading.Thread(target=converse, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
