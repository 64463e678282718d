"""The state that all requests of a server share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import cached_property

from archc.serve.feed import Mailbox
from archc.serve.metrics import Metrics
from archc.serve.models import Models
from archc.serve.options import ServeOptions


class Context:
    """Models, options and metrics of a server, and the requests that run. `drain` refuses new ones."""

    def __init__(self, models: Models, options: ServeOptions) -> None:
        self.models, self.options, self.metrics = models, options, Metrics(models)
        self.running = 0
        self.is_draining = self.is_ready = False
        self._on_idle: Callable[[], None] | None = None

    @cached_property
    def mailbox(self) -> Mailbox:
        """Return the mailbox of the event loop; first used in it."""
        return Mailbox()

    def enter(self) -> None:
        """Note the begin of a request."""
        self.running += 1

    def leave(self) -> None:
        """Note the end of a request."""
        self.running -= 1
        self._check_idle()

    def drain(self, on_idle: Callable[[], None]) -> None:
        """Refuse new requests from now on, and call `on_idle` in the event loop once none runs."""
        self.is_draining, self._on_idle = True, on_idle
        self._check_idle()

    def _check_idle(self) -> None:
        if self._on_idle is not None and self.running == 0:
            asyncio.get_running_loop().call_soon(self._on_idle)

    @property
    def is_computing(self) -> bool:
        """Return whether the computing threads of all loaded plans run; one that ended needs a new process."""
        schedulers = [model.service.scheduler for model in self.models if model.service is not None]
        return all(scheduler.is_alive for scheduler in schedulers if scheduler is not None)

    async def start(self) -> None:
        """Load the first model, and compute a token with it. Raises EngineError."""
        first = self.models.names[0]
        self.models.release(await self.models.acquire(first))
        self.is_ready = bool(self.mailbox)
