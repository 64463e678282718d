"""Random schedules: each greedy answer equals its answer alone, and everything is free at the end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archc.runtime.backends.ort.backend import OrtBackend
from archc.runtime.engine import Engine
from archc.runtime.errors import CacheFullError, EngineError, QueueFullError
from archc.runtime.generation.batch import open_row
from archc.runtime.generation.settings import Settings
from archc.runtime.generation.speculation import Speculate, Speculation
from archc.runtime.serving.job import Event, Failed, Finished, Job, Token
from archc.runtime.serving.scheduler import Budget, Scheduler
from archc.runtime.serving.slots import Slots

SHARED = "Tom had a red ball. He went to the park. "
TEXTS = ("Tom had a red ball.", "37+85=", "1+1=2\n1+1=2\n1+1=", "Once upon a time", "A cat sat. A cat sat. A cat")


@dataclass(frozen=True)
class Request:
    text: str
    is_shared: bool = False
    count: int = 8
    cancel_after: int | None = None
    is_late: bool = False
    keeps_prefix: bool = True
    ignore_eos: bool = False

    @property
    def prompt(self) -> str:
        return (SHARED if self.is_shared else "") + self.text


REQUESTS = st.builds(
    Request,
    st.sampled_from(TEXTS),
    st.booleans(),
    st.integers(1, 24),
    st.none() | st.integers(1, 6),
    st.integers(0, 9).map(lambda number: number == 0),
    st.booleans(),
)


@dataclass
class Heard:
    """The events of one job."""

    events: list[Event] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    job: Job | None = None
    cancel_after: int | None = None

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if not isinstance(event, Token):
            self.ended.set()
        elif self.job is not None and len(self.events) == self.cancel_after:
            self.job.cancel()

    def last(self) -> Event:
        assert self.ended.wait(60)
        return self.events[-1]

    def ids(self) -> list[int]:
        end = self.last()
        assert isinstance(end, Finished), end
        return list(end.ids)


class Server:
    """A scheduler on a packed graph."""

    def __init__(self, engine: Engine, backend: OrtBackend, count: int = 3, limit: int | None = None, queue: int = 64):
        self.engine, self.speculation = engine, Speculation()
        self.slots = Slots(engine.manifest, backend, count, limit)
        self.scheduler = Scheduler(self.slots, queue, Budget(beside_steps=5, alone=9, oldest_every=2))

    def job(self, ids: Sequence[int], heard: Callable[[Event], None], count: int, **options: object) -> Job:
        speculate: Speculate = options.pop("speculate", "auto")  # type: ignore[assignment]
        chosen = Settings(max_new_tokens=count, ignore_eos=bool(options.pop("ignore_eos", False)))
        opened = open_row(chosen, ids, 1000, self.engine.manifest.tokens.eos)
        longest = len(ids) + opened.budget
        speculator = self.speculation.open(speculate)
        job = Job(ids, opened.row, opened.sampler, heard, longest, speculator=speculator)
        for name, value in options.items():
            setattr(job, name, value)
        return job

    def submit(self, request: Request, speculate: Speculate = "auto") -> Heard:
        heard = Heard(cancel_after=request.cancel_after)
        deadline = 0.0 if request.is_late else None
        ids = ids_of(self.engine, request.prompt)
        options = {"speculate": speculate, "deadline": deadline, "keeps_prefix": request.keeps_prefix}
        options["ignore_eos"] = request.ignore_eos
        heard.job = self.job(ids, heard, request.count, **options)
        self.scheduler.submit(heard.job)
        return heard


def ids_of(engine: Engine, text: str) -> list[int]:
    assert engine.tokenizer is not None
    return engine.tokenizer.encode(text)


_ALONE: dict[tuple[str, int, bool], list[int]] = {}


def alone(engine: Engine, request: Request) -> list[int]:
    key = (request.prompt, request.count, request.ignore_eos)
    if key not in _ALONE:
        ids = ids_of(engine, request.prompt)
        options = {
            "max_new_tokens": request.count,
            "ignore_eos": request.ignore_eos,
            "defaults": False,
            "speculate": "off",
        }
        _ALONE[key] = engine.generate([ids], **options)[0]  # type: ignore[arg-type]
    return _ALONE[key]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 4), st.lists(REQUESTS, min_size=1, max_size=7), st.sampled_from(["off", "auto", 1, 4]), st.data())
def test_random_schedules(
    trained: Engine, packed: OrtBackend, count: int, requests: list[Request], speculate: Speculate, data: st.DataObject
) -> None:
    server = Server(trained, packed, count)
    heard = list[Heard]()
    for request in requests:
        heard.append(server.submit(request, speculate))
        if data.draw(st.booleans()):
            heard[-1].last()
    for request, one in zip(requests, heard, strict=True):
        end, expected = one.last(), alone(trained, request)
        assert isinstance(end, Finished)
        ids = list(end.ids)
        assert [event.id for event in one.events[:-1] if isinstance(event, Token) and event.is_output] == ids
        if request.is_late:
            assert (end.reason, ids) == ("canceled", [])
        elif end.reason == "canceled":
            assert request.cancel_after is not None
            assert ids == expected[: len(ids)]
        else:
            assert ids == expected
    assert server.scheduler.close(drain=True, timeout=60)
    statistics = server.scheduler.statistics
    assert (statistics.active, statistics.waiting, statistics.failed) == (0, 0, 0)
    assert statistics.finished + statistics.canceled == len(requests)
    assert server.scheduler.room == 64 + count


def test_proposals_are_accepted_between_other_sequences(trained: Engine, packed: OrtBackend) -> None:
    story = "Once upon a time, a little fox named Ben lived in a sunny valley. "
    requests = [Request(text, count=60, ignore_eos=True) for text in (f"{story}{story}Once upon a time,", "Once")]
    server = Server(trained, packed)
    heard = [server.submit(request, 5) for request in requests]
    assert [one.ids() for one in heard] == [alone(trained, request) for request in requests]
    server.scheduler.close()
    statistics = server.scheduler.statistics
    assert 0 < statistics.accepted_tokens < statistics.proposed_tokens


@pytest.mark.parametrize("speculate", ["off", 4])
def test_the_next_turn_computes_only_new_tokens(trained: Engine, packed: OrtBackend, speculate: Speculate) -> None:
    server = Server(trained, packed)
    first = Heard()
    prompt = ids_of(trained, SHARED)
    server.scheduler.submit(server.job(prompt, first, 12, speculate=speculate))
    turn = [*prompt, *first.ids(), *ids_of(trained, "Then")]
    second = Heard()
    server.scheduler.submit(server.job(turn, second, 12, speculate=speculate))
    expected = trained.generate([turn], max_new_tokens=12, defaults=False, speculate="off")[0]
    assert second.ids() == expected
    end = second.last()
    assert isinstance(end, Finished)
    assert end.cached_tokens >= len(prompt) + len(first.ids()) - 1
    server.scheduler.close()


def test_a_sequence_past_the_memory_limit_fails_at_once(trained: Engine, packed: OrtBackend) -> None:
    limit = Slots(trained.manifest, packed, 2).states.bytes_at(128)
    server = Server(trained, packed, 2, limit)
    running = server.submit(Request("Once upon a time", count=60))
    too_long = server.submit(Request("Once", count=400))
    error = too_long.last()
    assert isinstance(error, Failed)
    assert isinstance(error.error, CacheFullError)
    assert "exceeds the limit of cache memory" in str(error.error)
    assert running.ids() == alone(trained, Request("Once upon a time", count=60))
    assert server.slots.states.bytes_at(server.slots.states.capacity) <= limit
    server.scheduler.close()


def test_a_full_queue_refuses_all_jobs_of_a_request(trained: Engine, packed: OrtBackend) -> None:
    server = Server(trained, packed, 1, queue=1)
    held, entered = threading.Event(), threading.Event()

    def hold() -> None:
        entered.set()
        held.wait(60)

    future = server.scheduler.call(hold)
    assert entered.wait(60)
    heard = [Heard() for _ in range(3)]
    jobs = [server.job(ids_of(trained, "Once"), one, 4) for one in heard]
    with pytest.raises(QueueFullError, match="queue: expected at most 1 waiting requests; repeat the request later"):
        server.scheduler.submit_all(jobs)
    server.scheduler.submit_all(jobs[:2])
    held.set()
    assert future.result(60) is None
    assert [one.ids() for one in heard[:2]] == [alone(trained, Request("Once", count=4))] * 2
    assert not heard[2].events
    assert server.scheduler.statistics.refused == 3
    server.scheduler.close()


@pytest.mark.parametrize("fails_at_end", [False, True], ids=["at-each-event", "at-the-end"])
def test_a_listener_that_fails_stops_no_other_job(trained: Engine, packed: OrtBackend, fails_at_end: bool) -> None:
    server = Server(trained, packed)

    def broken(event: Event) -> None:
        if not (fails_at_end and isinstance(event, Token)):
            raise RuntimeError("broken")

    server.scheduler.submit(server.job(ids_of(trained, "Once"), broken, 3))
    request = Request("Once upon a time", count=12)
    assert server.submit(request).ids() == alone(trained, request)
    assert server.submit(request).ids() == alone(trained, request)
    server.scheduler.close()


def test_after_close_nothing_waits(trained: Engine, packed: OrtBackend) -> None:
    server = Server(trained, packed, 1)
    heard = [server.submit(Request("Once upon a time", count=200)) for _ in range(3)]
    future = server.scheduler.call(lambda: 5)
    assert server.scheduler.close(timeout=60)
    assert all(isinstance(one.last(), Finished) for one in heard)
    assert future.result(0) == 5
    with pytest.raises(EngineError, match="the service is shutting down; send the request to another one"):
        server.scheduler.submit(server.job([1], Heard(), 3))
