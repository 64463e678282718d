"""Answers computed next to others against the same answers alone: python -m benchmarks.faults.schedules PLAN [PLAN …].

Requests come at random times, with random prompts, some of which begin alike; some are canceled. Each greedy answer
must have the tokens and the text that the request has alone, and log-probabilities within a tolerance; another token
counts as the difference between it and the first one. The exit code is 1 past the tolerance.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from archc.runtime.generation.options import SamplingOptions
from archc.runtime.serving.job import Event, Failed, Job, Token
from archc.runtime.serving.service import Service, ServiceOptions

_LIKELY = 5  # tokens whose log-probabilities are compared


@dataclass(frozen=True)
class Request:
    """A prompt, the number of new tokens, and after how many of them it is canceled."""

    prompt: tuple[int, ...]
    count: int
    cancel_after: int | None = None
    speculate: Any = "auto"


@dataclass
class Heard:
    """The events of one job. `on_event` is called after each of them, in the computing thread."""

    on_event: Callable[[], None]
    cancel_after: int | None = None
    job: Job | None = None
    tokens: list[Token] = field(default_factory=list)
    last: Event | None = None
    ended: threading.Event = field(default_factory=threading.Event)

    def __call__(self, event: Event) -> None:
        if isinstance(event, Token):
            self.tokens.append(event)
            if len(self.tokens) == self.cancel_after and self.job is not None:
                self.job.cancel()
        else:
            self.last = event
            self.ended.set()
        self.on_event()


def submit(service: Service, request: Request, on_event: Callable[[], None]) -> Heard:
    """Put a request in the queue."""
    heard = Heard(on_event, request.cancel_after)
    options = SamplingOptions(
        max_new_tokens=request.count, temperature=0.0, ignore_eos=True, stop=[], speculate=request.speculate
    )
    # Proposals are for requests without log-probabilities, too.
    heard.job = service.job(request.prompt, service.settings(options), heard, logprobs=_LIKELY)
    service.submit([heard.job])
    return heard


def random_requests(chooser: random.Random, vocab: int, longest: int) -> list[Request]:
    """Return requests of which some have a common beginning."""
    common = [chooser.randrange(vocab) for _ in range(longest // 4)]
    found = list[Request]()
    for _ in range(chooser.randint(2, 24)):
        begin = common[: chooser.choice((0, 0, 8, len(common)))]
        own = [chooser.randrange(vocab) for _ in range(chooser.randint(1, longest // 3))]
        if chooser.random() < 0.2:
            own = (own[:7] * 12)[: longest // 3]  # repetitions, for prompt lookup
        cancel_after = chooser.randint(1, 20) if chooser.random() < 0.2 else None
        count, speculate = chooser.randint(1, longest // 4), chooser.choice(("off", "auto", 4))
        found.append(Request((*begin, *own), count, cancel_after, speculate))
    return found


def together(service: Service, chooser: random.Random, requests: Sequence[Request]) -> list[Heard]:
    """Submit requests, each after a random number of events of those before it."""
    events = threading.Semaphore(0)
    heard = list[Heard]()
    for request in requests:
        heard.append(submit(service, request, events.release))
        for _ in range(chooser.choice((0, 0, 3, 30))):
            if all(one.ended.is_set() for one in heard):
                break
            events.acquire(timeout=60)
    for one in heard:
        assert one.ended.wait(600), "an answer has not ended"
    return heard


@dataclass
class Differences:
    """Of log-probabilities, the largest; and the answers that continue with another token after a close decision."""

    largest: float = 0.0
    others: int = 0

    def note(self, found: Sequence[Token], alone: Sequence[Token]) -> None:
        """Compare an answer with that of the same request alone, up to the first token that differs."""
        for one, other in zip(found, alone, strict=True):
            expected = {scored.id: scored.logprob for scored in other.top}
            if one.id != other.id:
                self.others += 1
                # The other token must have been as likely.
                self._add(expected[other.id] - expected.get(one.id, -math.inf))
                return
            assert one.text == other.text
            for scored in one.top:
                self._add(abs(scored.logprob - expected.get(scored.id, scored.logprob)))

    def _add(self, difference: float) -> None:
        self.largest = max(self.largest, difference)


def compare(plan: Path, rounds: int, slots: int) -> float:
    """Print figures of a plan; return the largest difference."""
    options = ServiceOptions(slots=slots, threads=1)
    service, single = Service(plan, options), Service(plan, ServiceOptions(slots=1, threads=1, speculate="off"))
    chooser, differences = random.Random(0), Differences()  # noqa: S311, schedules
    limits, answers, tokens, canceled = service.manifest.limits, 0, 0, 0
    for _ in range(rounds):
        requests = random_requests(chooser, limits.vocab_size, min(limits.max_seq_len, 512))
        for request, heard in zip(requests, together(service, chooser, requests), strict=True):
            assert not isinstance(heard.last, Failed), heard.last
            alone = submit(single, Request(request.prompt, len(heard.tokens) or 1, None, "off"), lambda: None)
            assert alone.ended.wait(600)
            single.scheduler.call(single.scheduler.prefixes.kept.clear).result()  # type: ignore[union-attr]
            differences.note(heard.tokens, alone.tokens[: len(heard.tokens)])
            answers += 1
            tokens += len(heard.tokens)
            canceled += len(heard.tokens) < request.count
    cached = service.statistics.cached_tokens
    accepted = service.statistics.accepted_tokens
    service.close()
    single.close()
    print(
        f"{plan.name}: {answers} answers in {rounds} schedules, {tokens:,} tokens, {canceled} canceled, "
        f"{cached:,} prompt tokens reused, {accepted:,} proposals accepted: {differences.others} took another token, "
        f"log-probabilities within {differences.largest:.1e}",
        flush=True,
    )
    return differences.largest


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plans", type=Path, nargs="+", metavar="PLAN")
    parser.add_argument("--schedules", type=int, default=200)
    parser.add_argument("--slots", type=int, default=5)
    parser.add_argument("--tolerance", type=float, default=1e-4, help="of log-probabilities")
    args = parser.parse_args()
    return int(max(compare(plan, args.schedules, args.slots) for plan in args.plans) > args.tolerance)


if __name__ == "__main__":
    sys.exit(main())
