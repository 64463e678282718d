"""Answers of a service, event by event; an interrupt ends the answer and not the program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue

from archc.runtime.generation.settings import Settings
from archc.runtime.serving.job import Event, Failed, Finished, Token
from archc.runtime.serving.service import Service


@dataclass(frozen=True)
class Answer:
    """An answer: its text, its tokens, those of the prompt, and those of them that were not computed again."""

    text: str
    ids: tuple[int, ...]
    prompt_tokens: int
    cached_tokens: int
    reason: str

    @property
    def new_tokens(self) -> int:
        """Return the number of its tokens."""
        return len(self.ids)

    @property
    def is_interrupted(self) -> bool:
        """Return whether an interrupt ended it."""
        return self.reason == "canceled"


def answer(service: Service, ids: Sequence[int], settings: Settings, write: Callable[[str], None]) -> Answer:
    """Generate the answer to a prompt, and write its text as it comes. Raises EngineError."""
    events = SimpleQueue[Event]()
    job = service.job(ids, settings, events.put)
    service.submit([job])
    texts = list[str]()
    while True:
        try:
            event = events.get()
            if isinstance(event, Token):
                texts.append(event.text)
                write(event.text)
        except KeyboardInterrupt:
            job.cancel()
            continue
        if isinstance(event, Failed):
            raise event.error
        if isinstance(event, Finished):
            return Answer("".join(texts), event.ids, event.prompt_tokens, event.cached_tokens, event.reason)
