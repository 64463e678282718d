"""One request in the scheduler: its jobs, their events, and the model that it holds."""

from __future__ import annotations

import asyncio
import bisect
import itertools
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from starlette.types import Receive

from archc.runtime.errors import EngineError, QueueFullError
from archc.runtime.serving.job import Failed, Finished, Job, PromptScores, Token
from archc.runtime.serving.service import Service
from archc.serve.answers import CachedTokens, Usage
from archc.serve.chat import demands_of
from archc.serve.context import Context
from archc.serve.errors import ApiError, bad, of_engine, unavailable
from archc.serve.feed import Feed, Tagged
from archc.serve.models import Model
from archc.serve.sampling import choices_of, is_empty_echo, logprobs_of, sampling_options
from archc.serve.schema import ChatRequest, CompletionRequest, GenerationRequest

Encode = Callable[[Service], list[list[int]]]
"""From a service to the ids of each prompt of a request; called in a thread."""


@dataclass(frozen=True)
class Head:
    """The fields that all events of an answer repeat."""

    id: str
    created: int
    model: str


class Generation:
    """The answers to one request: `count` for each of `prompts`, by index."""

    def __init__(
        self, context: Context, model: Model, request: GenerationRequest, prompts: Sequence[Sequence[int]]
    ) -> None:
        service = model.loaded
        self.model, self.prompts, self.count = model, prompts, choices_of(request)
        self.head = Head(uuid.uuid4().hex, int(time.time()), model.name)
        self.finished: dict[int, Finished] = {}
        self.prompt_scores: dict[int, PromptScores] = {}
        self._context, self._started = context, time.monotonic()
        self._timeout, self._has_begun = context.options.timeout, False
        self.feed = Feed(context.mailbox)
        self.demands = demands_of(service, request)
        self.jobs = self._jobs(service, request)

    def _jobs(self, service: Service, request: GenerationRequest) -> list[Job]:
        demands = self.demands
        options = sampling_options(request, demands.grammar)
        is_chat = isinstance(request, ChatRequest)
        if is_chat and options.max_new_tokens is None and not _has_length(service):
            options = replace(options, max_new_tokens=_room(service, max(map(len, self.prompts))))
        settings = service.settings(options, chat=is_chat)
        logprobs = logprobs_of(request)
        has_text = service.tokenizer is not None
        echo = isinstance(request, CompletionRequest) and bool(request.echo)
        jobs = list[Job]()
        for prompt, row in itertools.product(self.prompts, range(self.count)):
            job = service.job(
                prompt,
                settings,
                self.feed.listener(len(jobs)),
                row=row,
                logprobs=logprobs,
                scores_prompt=echo and logprobs is not None,
                generates=not is_empty_echo(request),
                timeout=self._timeout,
                has_text=has_text,
                marks=demands.marks,
            )
            jobs.append(job)
        return jobs

    @property
    def is_done(self) -> bool:
        """Return whether all jobs have finished."""
        return len(self.finished) == len(self.jobs)

    def cancel(self) -> None:
        """End all jobs at the next step."""
        for job in self.jobs:
            job.cancel()

    async def take(self) -> list[Tagged]:
        """Wait for tokens and ends. Raises ApiError for a job that failed, ran out of time or was canceled."""
        events = await self.feed.take()
        if not self._has_begun and self.feed.first is not None:
            self._has_begun = True
            self._context.metrics.first_token(self.model.name, self.feed.first - self._started)
        for index, event in events:
            match event:
                case Failed(error):
                    raise of_engine(error, str(self.model.path), self.model.name)
                case Finished(reason="canceled"):
                    raise self._canceled()
                case Finished():
                    self.finished[index] = event
                case PromptScores():
                    self.prompt_scores[index] = event
        return events

    def _canceled(self) -> ApiError:
        if self._timeout is not None and time.monotonic() - self._started >= self._timeout:
            message = f"the request took longer than {self._timeout:g} s, the server's limit; ask for fewer tokens"
            return ApiError(504, message, kind="server_error", code="timeout")
        return unavailable("the server is shutting down; send the request to another one")

    async def collect(self, receive: Receive) -> list[list[Token]] | None:
        """Return the tokens of each choice, or None if the client has gone."""
        tokens = [list[Token]() for _ in self.jobs]

        async def take_all() -> None:
            while not self.is_done:
                for index, event in await self.take():
                    if isinstance(event, Token):
                        tokens[index].append(event)

        is_there = await while_connected(receive, asyncio.ensure_future(take_all()))
        return tokens if is_there else None

    @property
    def usage(self) -> Usage:
        """Return the numbers of tokens of all choices that have finished."""
        prompt = sum(map(len, self.prompts))
        new = sum(len(finished.ids) for finished in self.finished.values())
        cached = sum(self.finished[index].cached_tokens for index in self.finished if index % self.count == 0)
        return Usage(prompt, new, prompt + new, CachedTokens(cached))


async def while_connected(receive: Receive, work: asyncio.Future[None]) -> bool:
    """Wait for `work`; cancel it if the client goes before. Return whether it ended by itself; raise its exceptions."""
    watch = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait({watch, work}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done() or work.cancelled():
            return False
        work.result()
        return True
    finally:
        for task in (watch, work):
            task.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@asynccontextmanager
async def leased(context: Context, name: str | None, prompt: str | None = "prompt") -> AsyncIterator[Model]:
    """Hold the model of a request; errors of the runtime become answers, which name the field of the prompt."""
    try:
        model = await context.models.acquire(name)
    except EngineError as error:
        raise of_engine(error) from error
    try:
        yield model
    except EngineError as error:
        raise of_engine(error, str(model.path), model.name, prompt) from error
    finally:
        context.models.release(model)


async def start(
    context: Context, model: Model, request: GenerationRequest, encode: Encode, prompts: int = 1
) -> Generation:
    """Read the prompts in a thread, and put the jobs in the queue. Raises ApiError or EngineError."""
    service = model.loaded
    if service.scheduler is None:
        raise bad(f"model: {model.name} is an encoder, which generates no text; use /v1/embeddings", "model")
    wanted = prompts * choices_of(request)
    most = service.options.slots + service.options.queue
    if wanted > most:
        raise bad(f"n: expected at most {most} answers to a request, the server's slots and queue, got {wanted}", "n")
    if wanted > service.scheduler.room - model.preparing:
        service.statistics.refused += wanted
        raise QueueFullError(f"queue: {service.options.queue} requests are waiting already; repeat the request later")
    model.preparing += wanted
    try:
        generation = await asyncio.to_thread(_prepare, context, model, request, encode)
        service.submit(generation.jobs)
    finally:
        model.preparing -= wanted
    return generation


def _prepare(context: Context, model: Model, request: GenerationRequest, encode: Encode) -> Generation:
    prompts = encode(model.loaded)
    limit = model.loaded.manifest.limits.max_seq_len
    if model.loaded.manifest.encoder is None and (longest := max(map(len, prompts))) >= limit:
        name = "messages" if isinstance(request, ChatRequest) else "prompt"
        message = f"{name}: expected fewer than {limit} tokens, the model's maximum, got {longest}; shorten it"
        raise bad(message, name, "context_length_exceeded")
    return Generation(context, model, request, prompts)


def _has_length(service: Service) -> bool:
    """Return whether the plan has a default for the length of answers."""
    defaults = service.manifest.generation
    return defaults is not None and not defaults.settings.keys().isdisjoint(("max_new_tokens", "max_length"))


def _room(service: Service, prompt: int) -> int:
    """Return the most new tokens after a prompt, by the plan's maximum and by the memory for caches."""
    assert service.scheduler is not None
    states = service.scheduler.slots.states
    longest = bisect.bisect(
        range(1, service.manifest.limits.max_seq_len + 1), 0, key=lambda n: 1 - states.can_reserve(n)
    )
    return max(1, longest - prompt)
