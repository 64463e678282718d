"""Requests that survive the death of a replica on Ray Serve: python benchmarks/ray_faults.py engine.plan.

Starts a Ray cluster of several nodes on this machine, each a process of its own, and serves the plan with a replica on
each. Clients hold conversations of three turns in token ids, half of them streamed; meanwhile the process of a replica
that computes is killed with SIGKILL, as often as --kills says. Each greedy answer is compared with that of the engine
alone. A request is lost if it has neither a whole answer nor a first token; the exit code is 1 if there is one, or a
wrong answer.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import ray
from ray import serve
from ray.cluster_utils import Cluster

import archc
from archc.serve.ray import app

TURNS, PROMPT_TOKENS, TURN_TOKENS, NEW_TOKENS, SECONDS = 3, 64, 8, 24, 120


@dataclass
class Outcome:
    """One request: its kind is answered, broken (after its first token), lost or refused."""

    kind: str
    prompt: list[int]
    ids: list[int] = field(default_factory=list)
    turn: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    seconds: float = 0.0
    detail: str = ""


@contextmanager
def cluster(nodes: int) -> Iterator[None]:
    """Start nodes on this machine; replicas are as many, one on each because of its CPU."""
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_DISABLE_MEMORY_MONITOR="1")
    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(nodes - 1):
        started.add_node(num_cpus=1)
    ray.init(address=started.address, log_to_driver=False, logging_level="error")
    try:
        yield
    finally:
        serve.shutdown()
        ray.shutdown()
        started.shutdown()


def replicas() -> list[int]:
    """Return the ids of the replicas' processes, all of them children of this one."""
    found = list[int]()
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and b"ServeReplica:default:Replica" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue  # the process has ended
    return [number for number in found if _is_ours(number)]


def _is_ours(number: int) -> bool:
    while number > 1:
        try:
            number = int(Path(f"/proc/{number}/stat").read_text("utf-8").rpartition(")")[2].split()[1])
        except OSError:
            return False
        if number == os.getpid():
            return True
    return False


def cpu_ticks(number: int) -> int:
    """Return the CPU time of a process so far."""
    return sum(map(int, Path(f"/proc/{number}/stat").read_text("utf-8").rpartition(")")[2].split()[11:13]))


def kill_the_busiest() -> int:
    """Kill the replica that computes most at present."""
    before = {number: cpu_ticks(number) for number in replicas()}
    time.sleep(0.3)
    victim = max(before, key=lambda number: cpu_ticks(number) - before[number])
    os.kill(victim, signal.SIGKILL)
    return victim


def wait_for_replicas(number: int) -> int:
    """Return the replicas that run, once there are as many as before, or after a while."""
    end = time.monotonic() + SECONDS
    while True:
        states = serve.status().applications["default"].deployments["Replica"].replica_states
        running = states.get("RUNNING", 0)
        if running >= number or time.monotonic() > end:
            return running
        time.sleep(0.5)


def ask(client: httpx.Client, prompt: list[int], turn: int, is_stream: bool) -> Outcome:
    """Send one request, and wait for its answer."""
    body = {
        "prompt": prompt,
        "max_tokens": NEW_TOKENS,
        "temperature": 0,
        "ignore_eos": True,
        "return_token_ids": True,
        "stream": is_stream,
    }
    begin = time.monotonic()
    outcome = Outcome("lost", prompt, turn=turn)
    try:
        if is_stream:
            _read_stream(client, {**body, "stream_options": {"include_usage": True}}, outcome)
        else:
            answer = client.post("/v1/completions", json=body)
            if answer.status_code == 200:
                outcome.kind, outcome.ids = "answered", answer.json()["choices"][0]["token_ids"]
                _note_usage(outcome, answer.json()["usage"])
            else:
                outcome.kind = "refused" if answer.status_code == 429 else "lost"
                outcome.detail = f"{answer.status_code} {answer.text[:120]}"
    except httpx.HTTPError as error:
        outcome.detail = repr(error)
    if outcome.kind == "lost" and outcome.ids:
        outcome.kind = "broken"
    outcome.seconds = time.monotonic() - begin
    return outcome


def _read_stream(client: httpx.Client, body: dict[str, Any], outcome: Outcome) -> None:
    with client.stream("POST", "/v1/completions", json=body) as answer:
        if answer.status_code != 200:
            outcome.kind = "refused" if answer.status_code == 429 else "lost"
            outcome.detail = f"{answer.status_code} {answer.read()[:120]!r}"
            return
        for line in answer.iter_lines():
            if not line.startswith("data: {"):
                continue
            event = json.loads(line[6:])
            if "error" in event:
                outcome.detail = event["error"]["message"]
                return
            for choice in event["choices"]:
                outcome.ids += choice.get("token_ids", [])
            if event.get("usage"):
                _note_usage(outcome, event["usage"])
                outcome.kind = "answered"


def _note_usage(outcome: Outcome, usage: dict[str, Any]) -> None:
    outcome.prompt_tokens = usage["prompt_tokens"]
    outcome.cached_tokens = usage["prompt_tokens_details"]["cached_tokens"]


class Load:
    """Conversations of many clients."""

    def __init__(self, url: str, engine: archc.Engine) -> None:
        self._url, self._engine = url, engine
        self.outcomes = list[Outcome]()
        self._lock = threading.Lock()

    def converse(self, number: int) -> None:
        """Hold one conversation; it ends with a request that fails."""
        chooser = random.Random(number)  # noqa: S311, prompts
        vocab = self._engine.manifest.limits.vocab_size
        prompt = [chooser.randrange(vocab) for _ in range(PROMPT_TOKENS)]
        with httpx.Client(base_url=self._url, timeout=SECONDS, verify=False) as client:  # noqa: S501, loopback only
            for turn in range(TURNS):
                outcome = ask(client, list(prompt), turn, is_stream=bool(number % 2))
                with self._lock:
                    self.outcomes.append(outcome)
                if outcome.kind != "answered":
                    return
                prompt += [*outcome.ids, *(chooser.randrange(vocab) for _ in range(TURN_TOKENS))]

    def wrong(self) -> int:
        """Return the number of answers, or of parts of them, that differ from those of the engine alone."""
        count = 0
        for outcome in self.outcomes:
            expected = list[int]()
            if outcome.ids:
                (expected,) = self._engine.generate(
                    [outcome.prompt], max_new_tokens=NEW_TOKENS, ignore_eos=True, temperature=0.0
                )
            count += outcome.ids != expected[: len(outcome.ids)]
            count += outcome.kind == "answered" and len(outcome.ids) != len(expected)
        return count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", type=Path)
    parser.add_argument("--conversations", type=int, default=120)
    parser.add_argument("--clients", type=int, default=12)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--kills", type=int, default=1)
    parser.add_argument("--attempts", type=int, default=3, help="replicas that a request is sent to")
    parser.add_argument("--port", type=int, default=8765)
    args = parser.parse_args()
    engine = archc.load(args.plan, threads=1)
    with cluster(args.nodes):
        serve.start(http_options={"port": args.port, "location": "HeadOnly"})
        options = {
            "plan": str(args.plan),
            "slots": 8,
            "min_replicas": args.nodes,
            "max_replicas": args.nodes,
            "health_period": 1,
            "attempts": args.attempts,
        }
        serve.run(app(options), name="default")
        load = Load(f"http://127.0.0.1:{args.port}", engine)
        killed = list[int]()
        with ThreadPoolExecutor(args.clients) as pool:
            begin = time.monotonic()
            work = [pool.submit(load.converse, number) for number in range(args.conversations)]
            for part in range(args.kills):
                due = args.conversations * TURNS * (part + 1) // (args.kills + 2)
                while len(load.outcomes) < due and not all(future.done() for future in work):
                    time.sleep(0.02)
                killed.append(kill_the_busiest())
            for future in work:
                future.result()
            seconds = time.monotonic() - begin
        left = wait_for_replicas(args.nodes)
    return report(load, seconds, killed, left)


def report(load: Load, seconds: float, killed: list[int], left: int) -> int:
    """Print the figures; return the exit code."""
    kinds = Counter(outcome.kind for outcome in load.outcomes)
    later = [outcome for outcome in load.outcomes if outcome.turn and outcome.kind == "answered"]
    cached = sum(outcome.cached_tokens for outcome in later) / max(1, sum(outcome.prompt_tokens for outcome in later))
    wrong = load.wrong()
    print(
        f"{len(load.outcomes)} requests in {seconds:.1f} s; replicas killed: {len(killed)}, at the end: {left}\n"
        f"answered {kinds['answered']}, broken after the first token {kinds['broken']}, refused {kinds['refused']}, "
        f"lost {kinds['lost']}, wrong {wrong}\n"
        f"longest request {max(outcome.seconds for outcome in load.outcomes):.1f} s; "
        f"later turns: {cached:.0%} of the prompt was cached"
    )
    for outcome in load.outcomes:
        if outcome.kind != "answered":
            print(f"  {outcome.kind} after {len(outcome.ids)} tokens: {outcome.detail}")
    return int(bool(kinds["lost"] or wrong))


if __name__ == "__main__":
    sys.exit(main())
