"""The plans of a server by name: loaded on demand, and unloaded by least use when memory is short."""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from archc.error import Error
from archc.plan.manifest import Manifest
from archc.plan.reader import Plan
from archc.runtime.errors import EngineError
from archc.runtime.generation.draft_check import check_draft
from archc.runtime.generation.options import SamplingOptions
from archc.runtime.serving.job import Event, Failed, Finished
from archc.runtime.serving.service import Service
from archc.serve.errors import ApiError, bad, unavailable
from archc.serve.options import ServeOptions


class ServeError(Error):
    """An option or plan that a server cannot start with."""


@dataclass
class Model:
    """A plan, and its service while it is loaded. `users` are requests that run."""

    name: str
    path: Path
    manifest: Manifest
    size: int
    created: int
    draft: Path | None = None
    service: Service | None = None
    users: int = 0
    used: int = 0
    preparing: int = 0  # jobs of requests whose prompts are being read
    encoding: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def loaded(self) -> Service:
        """Return the service; only while a request runs."""
        assert self.service is not None
        return self.service


class Models:
    """The plans of the command line, each a PATH or NAME=PATH. Raises ServeError or PlanError for one that is none."""

    def __init__(self, plans: Sequence[str], options: ServeOptions) -> None:
        self._options = options
        self._models: dict[str, Model] = {}
        self._clock = itertools.count(1)
        self._lock = asyncio.Lock()
        for text in plans:
            self._add(text)
        if not self._models:
            raise ServeError("plans: expected at least one engine.plan file, got none")
        for text in options.drafts:
            self._add_draft(text)
        for model in self:
            limit = options.max_memory
            if limit is not None and model.size > limit:
                raise ServeError(
                    f"{model.path}: requires {model.size:,} bytes, more than --max-memory; raise it to at least this "
                    "number"
                )

    def _add(self, text: str) -> None:
        name, path = _split(text)
        if not name:
            raise ServeError(f"{text}: expected a name before '='; give NAME=PATH")
        if name in self._models:
            raise ServeError(f"{path}: the name {name!r} is that of {self._models[name].path}; give NAME=PATH")
        plan = Plan(path)
        plan.close()
        status = path.stat()
        size = status.st_size + (self._options.service.cache_bytes or 0)
        self._models[name] = Model(name, path, plan.manifest, size, int(status.st_mtime))

    def _add_draft(self, text: str) -> None:
        name, path = _split(text)
        if path == Path(text):
            if len(self._models) > 1:
                raise ServeError(f"--draft {text}: expected NAME=PATH with one of {', '.join(self._models)}")
            (name,) = self._models
        if name not in self._models:
            raise ServeError(f"--draft {text}: {name!r} is not served; give one of {', '.join(self._models)}")
        model = self._models[name]
        if model.draft is not None:
            raise ServeError(f"--draft {text}: {name!r} has the draft {model.draft}; remove one")
        with Plan(model.path) as plan, Plan(path) as draft:
            check_draft(plan, draft)
        model.draft, model.size = path, model.size + path.stat().st_size

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    @property
    def names(self) -> list[str]:
        """Return the names in the order of the command line."""
        return list(self._models)

    def find(self, name: str | None) -> Model:
        """Return the model of a request; a server of one model accepts any name. Raises ApiError for an unknown one."""
        if len(self._models) == 1:
            return next(iter(self))
        if name is None:
            raise bad(f"model: required by a server of several models; give one of {', '.join(self.names)}", "model")
        return self.named(name)

    def named(self, name: str) -> Model:
        """Return the model with a name; raise ApiError for an unknown one."""
        if name not in self._models:
            message = f"model: {name[:80]!r} is not served; give one of {', '.join(self.names)}"
            raise ApiError(404, message, param="model", code="model_not_found")
        return self._models[name]

    async def acquire(self, name: str | None) -> Model:
        """Return the model of a request with its service, which stays loaded until `release`."""
        model = self.find(name)
        model.users += 1
        model.used = next(self._clock)
        try:
            if model.service is None:
                async with self._lock:
                    await self._load(model)
        except BaseException:
            model.users -= 1
            raise
        return model

    def release(self, model: Model) -> None:
        """Note the end of a request."""
        model.users -= 1

    async def _load(self, model: Model) -> None:
        if model.service is not None:
            return
        limit = self._options.max_memory
        while limit is not None and sum(each.size for each in self if each.service) + model.size > limit:
            idle = [each for each in self if each.service and not each.users]
            if not idle:
                raise unavailable(f"model: memory for {model.name!r} is in use by requests to others; repeat it later")
            await _unload(min(idle, key=lambda each: each.used))
        model.service = await asyncio.to_thread(open_service, model.path, self._options, model.draft)

    async def close(self) -> None:
        """End all requests, and unload all plans."""
        for model in self:
            await _unload(model)


async def _unload(model: Model) -> None:
    service, model.service = model.service, None
    if service is not None:
        await asyncio.to_thread(service.close)


def _split(text: str) -> tuple[str, Path]:
    """Return name and path of PATH or NAME=PATH; a file with that very name is a path."""
    name, equals, path = text.partition("=")
    if not equals or os.path.lexists(text):
        return Path(text).stem, Path(text)
    return name, Path(path)


def open_service(path: Path, options: ServeOptions, draft: Path | None = None) -> Service:
    """Return the service of a plan that has computed one token, or for an encoder one output."""
    service = Service(path, replace(options.service, draft=draft))
    try:
        _compute_one(service)
    except BaseException:
        service.close()
        raise
    return service


def _compute_one(service: Service) -> None:
    if service.engine is not None:
        role = service.manifest.outputs[0].role
        engine = service.engine
        calls = {"pooled": engine.pooled, "hidden_states": engine.encode, "classes": engine.classify}
        calls.get(role, engine.logits)([[0]])
        return
    events: list[Event] = []
    done = threading.Event()

    def listen(event: Event) -> None:
        events.append(event)
        if isinstance(event, Finished | Failed):
            done.set()

    settings = service.settings(SamplingOptions(max_new_tokens=1, stop=[], ignore_eos=True))
    service.submit([service.job([0], settings, listen, keeps_prefix=False, has_text=False)])
    done.wait()
    match events[-1]:
        case Failed(error):
            raise error
        case Finished(reason="canceled"):
            raise EngineError(f"{service.plan.path}: closed before it has computed a token")
