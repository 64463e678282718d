"""Events of jobs on their way from a computing thread to the event loop.

A call of the graph gives events of many jobs; the loop is woken once for all of them.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable

from archc.runtime.serving.job import Event, Listener

MOST_BEHIND = 1024
"""Events that a slow reader may be behind before its jobs are canceled."""

Tagged = tuple[int, Event]
"""The index of a choice, and an event of its job."""


class Mailbox:
    """The events for one event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._posted = deque[tuple[Feed, Tagged]]()
        self._is_scheduled = False

    def post(self, feed: Feed, event: Tagged) -> None:
        """Hand over an event; called in computing threads."""
        self._posted.append((feed, event))
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._is_scheduled = False  # first, so that an event that is posted meanwhile wakes the loop again
        while self._posted:
            feed, event = self._posted.popleft()
            feed.push(event)


class Feed:
    """The events of one request, in order."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox, self._most = mailbox, math.inf
        self._overflow: Callable[[], object] = _nothing
        self._events: list[Tagged] = []
        self._ready = asyncio.Event()
        self.first: float | None = None  # time.monotonic of the first event
        self.is_behind = False

    def on_overflow(self, function: Callable[[], object], most: int = MOST_BEHIND) -> None:
        """Call a function, in the event loop, when more than `most` events wait for their reader."""
        self._overflow, self._most = function, most

    def listener(self, index: int) -> Listener:
        """Return the listener of the job of a choice."""
        return lambda event: self._mailbox.post(self, (index, event))

    def push(self, event: Tagged) -> None:
        """Append an event; called in the event loop."""
        if self.first is None:
            self.first = time.monotonic()
        if self.is_behind:
            return
        self._events.append(event)
        self._ready.set()
        if len(self._events) > self._most:
            self.is_behind = True
            self._overflow()

    async def take(self) -> list[Tagged]:
        """Wait for events, and return all that are there."""
        await self._ready.wait()
        self._ready.clear()
        events, self._events = self._events, []
        return events


def _nothing() -> None:
    pass
