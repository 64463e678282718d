"""Responses of a decoupled model, sent by a thread of their own: sending may take long, and computing must not wait."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from archc.runtime.serving.job import Event, Failed, Finished, Job, Listener, Token
from archc.serve.triton.signature import OUTPUTS, write_output

_PERIOD_S = 0.1  # between looks for requests that were canceled


@dataclass(eq=False)
class Running:
    """A request, its response sender, and once it is in the queue its job."""

    sender: Any
    job: Job | None = None


class Responses:
    """The responses of all requests. `pb_utils` is Triton's module."""

    def __init__(self, pb_utils: Any) -> None:
        self._utils = pb_utils
        self._events = SimpleQueue[tuple[Running, Event] | None]()
        self._running: set[Running] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="archc-responses", daemon=True)
        self._thread.start()

    def listener(self, running: Running) -> Listener:
        """Return the listener of a request's job."""
        return lambda event: self._events.put((running, event))

    def add(self, running: Running) -> None:
        """Look for the cancellation of a request from now on."""
        with self._lock:
            self._running.add(running)

    def forget(self, running: Running) -> None:
        """Look no longer."""
        with self._lock:
            self._running.discard(running)

    def refuse(self, sender: Any, message: str, code: Any) -> None:
        """Send an error, the only response of a request."""
        error = self._utils.TritonError(message, code)
        response = self._utils.InferenceResponse(output_tensors=[], error=error)
        sender.send(response, flags=self._utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def close(self) -> None:
        """Send what is left, and end the thread."""
        self._events.put(None)
        self._thread.join()

    def _run(self) -> None:
        is_closing = False
        while not is_closing:
            batch = dict[Running, list[Event]]()
            for item in self._take():
                if item is None:
                    is_closing = True
                else:
                    batch.setdefault(item[0], []).append(item[1])
            for running, events in batch.items():
                self._send(running, events)
            with self._lock:
                members = list(self._running)
            for running in members:
                if running.job is not None and running.sender.is_cancelled():
                    running.job.cancel()

    def _take(self) -> list[tuple[Running, Event] | None]:
        """Wait for events; return all that are there, none after a period without one."""
        items = list[tuple[Running, Event] | None]()
        try:
            items.append(self._events.get(timeout=_PERIOD_S))
            while True:
                items.append(self._events.get_nowait())
        except Empty:
            return items

    def _send(self, running: Running, events: list[Event]) -> None:
        """Send the tokens of a request as one response, the last one with the flag of the end."""
        last = events[-1]
        tokens = [event for event in events if isinstance(event, Token)]
        if not isinstance(last, Token):
            self.forget(running)
        match last:
            case Failed(error):
                self.refuse(running.sender, str(error), self._utils.TritonError.INTERNAL)
            case Finished(reason="canceled"):
                self.refuse(running.sender, "the request was canceled", self._utils.TritonError.CANCELLED)
            case Finished(reason=reason):
                final = self._utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
                running.sender.send(self._response(tokens, str(reason)), flags=final)
            case _:
                running.sender.send(self._response(tokens, ""))

    def _response(self, tokens: list[Token], reason: str) -> Any:
        ids = [token.id for token in tokens if token.is_output]
        values: tuple[str | list[int], ...] = ("".join(token.text for token in tokens), ids, reason)
        tensors = [
            self._utils.Tensor(port.name, write_output(value)) for port, value in zip(OUTPUTS, values, strict=True)
        ]
        return self._utils.InferenceResponse(output_tensors=tensors)
