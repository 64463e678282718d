"""The cost of HTTP: python -m benchmarks.http_cost engine.plan [--rounds 20].

Two comparisons, whose sides alternate: one stream of `archc serve` with the engine of `archc run`, and as many streams
at a time as there are slots with the same requests to a service without HTTP. Each side is a process of its own, and
clients only note when bytes arrive. Tokens per second are those after the first token; of many requests, those of the
whole time. Proposals are off, because their number depends on the text.
"""

from __future__ import annotations

import argparse
import json
import random
import selectors
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

from archc.runtime.engine import load
from archc.runtime.generation.options import SamplingOptions
from archc.runtime.serving.job import Event, Failed, Finished
from archc.runtime.serving.service import Service, ServiceOptions
from benchmarks.faults.server import Server, served

PROMPT, SLOTS = 32, 8


def prompts(count: int, seed: int) -> list[list[int]]:
    chooser = random.Random(f"{count} {seed}")  # noqa: S311, prompts
    return [[chooser.randrange(1000) for _ in range(PROMPT)] for _ in range(count)]


def ask(server: Server, asked: Sequence[Sequence[int]], new: int) -> tuple[float, float, float]:
    """Stream answers to all prompts at once; return the times of the begin, of the first bytes and of the end."""
    with selectors.DefaultSelector() as selector:
        received = dict[socket.socket, list[bytes]]()
        begin = time.perf_counter()
        for prompt in asked:
            body = {"prompt": prompt, "max_tokens": new, "temperature": 0, "ignore_eos": True, "stream": True}
            connection = server.connect(body)
            selector.register(connection, selectors.EVENT_READ)
            received[connection] = []
        first, running = 0.0, set(received)
        while running:
            for key, _ in selector.select():
                connection = key.fileobj  # type: ignore[assignment]
                part = connection.recv(1 << 16)
                received[connection].append(part)
                first = first or (time.perf_counter() if b"data: {" in part else 0.0)
                if not part or b"data: [DONE]" in part:
                    running.discard(connection)
                    selector.unregister(connection)
        end = time.perf_counter()
    for connection, parts in received.items():
        connection.close()
        events = b"".join(parts).count(b"data: {")
        assert events >= new, f"expected {new} events, got {events}"
    return begin, first, end


@contextmanager
def computing(function: str, plan: Path) -> Iterator[Callable[[Sequence[Sequence[int]], int], float]]:
    """Run a function below in a process of its own; give what asks it for tokens per second."""
    code = f"from benchmarks.http_cost import {function}; {function}({str(plan)!r})"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], text=True, bufsize=1, **pipes) as process:  # type: ignore[call-overload]

        def rate(asked: Sequence[Sequence[int]], new: int) -> float:
            process.stdin.write(json.dumps([asked, new]) + "\n")
            return float(process.stdout.readline())

        try:
            yield rate
        finally:
            process.kill()


def engine_alone(plan: str) -> None:
    """Print tokens per second of the engine of `archc run` for each line of requests, after the first token."""
    engine = load(plan, prepack="auto")
    for line in sys.stdin:
        (prompt,), new = json.loads(line)
        found = engine.run([prompt], max_new_tokens=new, temperature=0.0, ignore_eos=True, speculate="off")
        print((new - 1) / found.timing["decode_s"], flush=True)


def service_alone(plan: str) -> None:
    """Print tokens per second of a service for each line of requests."""
    service = Service(plan, ServiceOptions(slots=SLOTS, speculate="off"))
    for line in sys.stdin:
        asked, new = json.loads(line)
        settings = service.settings(SamplingOptions(max_new_tokens=new, temperature=0.0, ignore_eos=True))
        events = SimpleQueue[Event]()
        begin = time.perf_counter()
        service.submit([service.job(prompt, settings, events.put) for prompt in asked])
        left = len(asked)
        while left:
            event = events.get()
            assert not isinstance(event, Failed), event
            left -= isinstance(event, Finished)
        print(len(asked) * new / (time.perf_counter() - begin), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", type=Path)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--new", type=int, default=32)
    args = parser.parse_args()
    found = list[tuple[float, float, float, float]]()
    with (
        served(args.plan, "--speculate", "off", "--slots", str(SLOTS)) as server,
        computing("engine_alone", args.plan) as engine,
        computing("service_alone", args.plan) as service,
    ):
        for number in range(-1, args.rounds):  # the first one warms up
            alone, many = prompts(1, number), prompts(SLOTS, number)
            one = engine(alone, args.new)
            _, first, end = ask(server, alone, args.new)
            each = service(many, args.new)
            begin, _, last = ask(server, many, args.new)
            rates = one, (args.new - 1) / (end - first), each, SLOTS * args.new / (last - begin)
            found += [rates] if number >= 0 else []
            print(*(f"{rate:.1f}" for rate in rates), flush=True)
    one, one_http, each, each_http = (statistics.median(column) for column in zip(*found, strict=True))
    costs = [statistics.median(row[2 * side + 1] / row[2 * side] for row in found) - 1 for side in (0, 1)]
    print(
        f"medians of {args.rounds} rounds, tokens/s: engine alone {one:.1f}, one stream {one_http:.1f}, median ratio "
        f"{costs[0]:+.1%}; {SLOTS} requests to a service {each:.1f}, through HTTP {each_http:.1f}, median ratio "
        f"{costs[1]:+.1%}"
    )


if __name__ == "__main__":
    main()
