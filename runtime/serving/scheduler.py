"""The scheduler: one thread that computes, and the queue of jobs in front of it.

Each call has the next token of every sequence that decodes, and a piece of one prompt: a long prompt delays the others
by one piece at a time. Listeners are called in the thread, between calls.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

from archc.runtime.errors import CacheFullError, EngineError, QueueFullError
from archc.runtime.generation.guesses import Draft, Guess
from archc.runtime.serving.drafts import propose_drafts
from archc.runtime.serving.job import Job
from archc.runtime.serving.logprobs import Floats
from archc.runtime.serving.prefixes import Prefixes
from archc.runtime.serving.slots import Piece, Slots
from archc.runtime.serving.statistics import Statistics

T = TypeVar("T")


@dataclass(frozen=True)
class Budget:
    """Tokens of a prompt in one call: next to steps of other sequences, alone, and with the logits of all of them.

    Pieces are of the prompt with the fewest tokens left, so that most answers begin early; every few of them, of the
    oldest prompt.
    """

    beside_steps: int = 64
    alone: int = 512
    scored: int = 128
    oldest_every: int = 4


class Scheduler:
    """Runs jobs on slots in a thread of its own. `queue` is the most jobs that wait, beyond those with a slot."""

    def __init__(self, slots: Slots, queue: int = 64, budget: Budget | None = None) -> None:
        self.slots, self.budget, self.statistics = slots, budget or Budget(), Statistics()
        self._queue_limit = queue
        self.prefixes = Prefixes(slots)
        self._condition = threading.Condition()
        self._waiting, self._tasks = deque[Job](), deque[Callable[[], None]]()
        self._active: dict[int, Job] = {}  # by slot; of the computing thread alone
        self._pieces = 0
        self._is_closing = self._drains = False
        self._thread = threading.Thread(target=self._run, name="archc-scheduler", daemon=True)
        self._thread.start()

    @property
    def room(self) -> int:
        """Return how many more jobs `submit` takes at present."""
        return self._queue_limit + self.slots.count - len(self._waiting) - len(self._active)

    @property
    def is_alive(self) -> bool:
        """Return whether the computing thread runs."""
        return self._thread.is_alive()

    def submit(self, job: Job) -> Job:
        """Append a job to the queue; raise QueueFullError if it is full, EngineError after `close`."""
        self.submit_all([job])
        return job

    def submit_all(self, jobs: Sequence[Job]) -> None:
        """Append all jobs or none."""
        with self._condition:
            self._check_room(len(jobs), self.room)
            self._waiting.extend(jobs)
            self._condition.notify()

    def call(self, function: Callable[[], T]) -> Future[T]:
        """Return the result of a function that is run in the computing thread, between calls."""
        future: Future[T] = Future()

        def task() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(function())
            except Exception as error:  # handed to the waiting thread
                future.set_exception(error)

        with self._condition:
            self._check_room(1, self._queue_limit + self.slots.count - len(self._tasks))
            self._tasks.append(task)
            self._condition.notify()
        return future

    def _check_room(self, count: int, room: int) -> None:
        """Raise QueueFullError for more than `room` requests, EngineError after `close`."""
        if self._is_closing:
            raise EngineError("the service is shutting down; send the request to another one")
        if count > room:
            self.statistics.refused += count
            raise QueueFullError(
                f"queue: expected at most {self._queue_limit} waiting requests; repeat the request later"
            )

    def close(self, drain: bool = False, timeout: float | None = None) -> bool:
        """Stop: with `drain` after all jobs, otherwise after the present call; return whether the thread has ended."""
        with self._condition:
            self._is_closing, self._drains = True, drain
            self._condition.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._condition:
                while not (self._active or self._waiting or self._tasks or self._is_closing):
                    self._condition.wait()
                tasks = [self._tasks.popleft() for _ in range(len(self._tasks))]
                if self._is_closing and not (self._drains and (self._active or self._waiting or tasks)):
                    waiting, self._waiting = list(self._waiting), deque()
                    break
            for task in tasks:
                task()
            self._end_canceled()
            self._admit()
            if self._active:
                self._step()
            self.statistics.active, self.statistics.waiting = len(self._active), len(self._waiting)
        for task in tasks:
            task()
        for job in (*self._active.values(), *waiting):
            job.finish("canceled")
        self._active.clear()

    def _end_canceled(self) -> None:
        """End jobs that were canceled or are past their deadline."""
        now = time.monotonic()
        for job in list(self._active.values()):
            if job.is_ended(now):
                self.statistics.canceled += 1
                self._release(job)
                job.finish("canceled")
        with self._condition:
            ended = [job for job in self._waiting if job.is_ended(now)]
            for job in ended:
                self._waiting.remove(job)
        for job in ended:
            self.statistics.canceled += 1
            job.finish("canceled")

    def _admit(self) -> None:
        """Give free slots to waiting jobs, as far as the memory for their longest sequences permits."""
        while True:
            free = [slot for slot in range(self.slots.count) if slot not in self._active]
            with self._condition:
                job = self._waiting[0] if self._waiting else None
                if job is None or not free:
                    break
                self._waiting.popleft()
            try:
                self._begin(job, free)
            except EngineError as error:
                self._fail(job, error)

    def _begin(self, job: Job, free: Sequence[int]) -> None:
        shared = 0
        slot = free[0]
        if job.keeps_prefix and job.source is None:
            # Tokens with a score have to be computed.
            slot, shared = self.prefixes.choose(free, job.tokens if not job.is_scoring else ())
        if not self.slots.states.can_reserve(job.longest):
            raise CacheFullError(
                f"cache: a sequence of {job.longest} tokens exceeds the limit of cache memory; ask for fewer tokens, "
                "or raise the limit"
            )
        self.slots.states.reserve(min(job.longest, len(job.tokens) + 1))
        if shared:
            self.prefixes.restore(slot, shared)
        else:
            self.prefixes.forget(slot)
            self.slots.clear(slot, job.source() if job.source is not None else None)
        job.slot, job.done, job.cached = slot, shared, shared
        self._active[slot] = job
        self.statistics.prompt_tokens += len(job.prompt)
        self.statistics.cached_tokens += shared

    def _step(self) -> None:
        """Make one call, and give its logits to the jobs."""
        steps = {slot: job for slot, job in self._active.items() if not job.is_prefilling}
        for slot, job in list(steps.items()):
            if self.slots.must_read_again(slot, 1):
                self.slots.clear(slot)
                job.done = job.again = 0
                del steps[slot]
        piece = self._choose_piece(bool(steps))
        try:
            drafts = propose_drafts(self.slots, steps) if piece is None else {}
            ids = {
                slot: [*job.waiting, *(guess.token for guess in drafts.get(slot, ()))] for slot, job in steps.items()
            }
            begin = time.perf_counter()
            logits = self.slots.run(ids, piece)
        except EngineError as error:
            for job in list(self._active.values()):
                self._fail(job, error)
            return
        seconds = time.perf_counter() - begin
        self.statistics.calls += 1
        self.statistics.call_s += seconds
        if piece is None:
            self._note_cost(steps.values(), max(map(len, ids.values())), seconds)
        for slot, job in steps.items():
            self._advance(slot, job, logits[slot], drafts.get(slot, ()))
        if piece is not None:
            self._read(self._active[piece.slot], piece, logits[piece.slot])

    def _read(self, job: Job, piece: Piece, logits: Floats) -> None:
        """Note a piece of a job's prompt, whose logits are float32 [n, vocab]; after the last one, choose a token."""
        if job.is_scoring:
            self._guard(job, lambda: job.score(logits))
            if job.slot is None:
                return
        job.done += len(piece.ids)
        if job.done < len(job.tokens):
            return
        if job.keeps_prefix:
            self.prefixes.mark(piece.slot, job.tokens[: job.done])
        if job.generates:
            self._choose(job, logits[-1])
        else:
            job.row.finish_reason = "length"
        self._end_finished(job)

    @staticmethod
    def _note_cost(jobs: Iterable[Job], width: int, seconds: float) -> None:
        """Note the time of a call of steps alone, for the choice of later proposals."""
        members = list(jobs)
        if speculator := next((job.speculator for job in members if job.speculator is not None), None):
            speculator.costs.note(len(members), width, seconds)

    def _advance(self, slot: int, job: Job, logits: Floats, draft: Draft) -> None:
        """Choose tokens from float32 [appended, vocab], of which the last are after the proposed tokens.

        It ends with the first one that is not the proposed one.
        """
        used = 0
        for scores, guess in zip(logits[len(logits) - 1 - len(draft) :], [*draft, None], strict=True):
            self._choose(job, scores, guess)
            if job.slot is None:
                return
            used += 1
            if job.row.finish_reason is not None or guess is None or job.tokens[-1] != guess.token:
                break
        self._rewind(slot, job, len(logits), len(draft) + 1 - used)
        if draft and job.speculator is not None:
            job.speculator.note(len(draft), used - 1)
            self.statistics.proposed_tokens += len(draft)
            self.statistics.accepted_tokens += used - 1
        self._end_finished(job)

    def _rewind(self, slot: int, job: Job, appended: int, wrong: int) -> None:
        """Take back the last `wrong` of the tokens of a call; all of them where a call replaces the state."""
        job.again = 0
        if wrong and self.slots.states.has_fixed:
            self.slots.rewind(slot, appended)
            job.again = appended - wrong
            return
        self.slots.rewind(slot, wrong)
        job.done += appended - wrong

    def _choose_piece(self, beside_steps: bool) -> Piece | None:
        """Return tokens of the prompt with the fewest left, or every few pieces of the oldest."""
        jobs = [job for job in self._active.values() if job.is_prefilling]
        if not jobs:
            return None
        self._pieces += 1
        by_age = self._pieces % self.budget.oldest_every == 0
        job = min(jobs, key=lambda job: job.created if by_age else len(job.tokens) - job.done)
        assert job.slot is not None
        left = len(job.tokens) - job.done
        longest = self.slots.longest_piece
        count = left
        if longest is not None:
            count = min(left, longest, self.budget.beside_steps if beside_steps else self.budget.alone)
            if job.is_scoring:
                count = min(count, self.budget.scored)
        ids = job.tokens[job.done : job.done + count]
        return Piece(job.slot, ids, "all" if job.is_scoring else "last" if count == left else "none")

    def _choose(self, job: Job, logits: Floats, guess: Guess | None = None) -> None:
        """Choose a job's next token from float32 [vocab]; a job that fails has no slot afterwards."""
        if self._guard(job, lambda: job.choose(logits, guess)):
            self.statistics.new_tokens += 1

    def _guard(self, job: Job, work: Callable[[], None]) -> bool:
        """Return whether work for a job alone succeeds; a failure ends that job."""
        try:
            work()
        except EngineError as error:
            self._fail(job, error)
            return False
        except Exception as error:  # of a listener or a constraint: the other jobs go on
            self._fail(job, EngineError(f"the request failed: {type(error).__name__}: {error}"))
            return False
        return True

    def _end_finished(self, job: Job) -> None:
        """Release the slot of a job whose row has ended."""
        if job.slot is not None and job.row.finish_reason is not None:
            self.statistics.finished += 1
            self._release(job)
            job.finish(job.row.finish_reason)

    def _release(self, job: Job) -> None:
        """Free a job's slot, which keeps its tokens for later prompts that begin with them."""
        assert job.slot is not None
        del self._active[job.slot]
        if job.keeps_prefix and job.source is None:
            self.prefixes.keep(job.slot, job.tokens[: job.done])
        else:
            self.prefixes.forget(job.slot)
        job.slot = None

    def _fail(self, job: Job, error: EngineError) -> None:
        self.statistics.failed += 1
        if job.slot is not None:
            self.prefixes.forget(job.slot)
            del self._active[job.slot]
            job.slot = None
        job.fail(error)
