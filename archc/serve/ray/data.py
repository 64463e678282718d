"""Batches of prompts with Ray Data: a callable class for `Dataset.map_batches`."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archc.runtime.errors import EngineError, PromptError
from archc.runtime.serving.job import Event, Failed, Finished, Token
from archc.runtime.serving.requests import parse_request
from archc.runtime.serving.service import Service, ServiceOptions

Columns = dict[str, NDArray[Any]]


@dataclass
class _Row:
    texts: list[str] = field(default_factory=list)
    ids: tuple[int, ...] = ()
    reason: str = ""
    error: str = ""


class Generate:
    """A plan in each actor of the pool: its slots compute the rows of a batch together.

    A row's prompt is a text or ids in the column `prompt`, or chat messages in the column `messages`. `options` are
    those of a request of OpenAI's API, such as max_tokens=64. Raises PlanError or EngineError for a plan that cannot
    generate, PromptError for options that are not valid.
    """

    def __init__(self, plan: str | Path, slots: int = 8, threads: int | None = None, **options: Any) -> None:
        parse_request({"prompt": [0], **options})
        self._options = options
        self._service = Service(plan, ServiceOptions(slots=slots, queue=slots, threads=threads))
        if self._service.scheduler is None:
            self._service.close()
            raise EngineError(f"{plan}: {self._service.manifest.family} is an encoder, which generates no text")
        # As many rows as fit into the slots and the queue; the next one waits for the end of another.
        self._room = threading.Semaphore(2 * slots)

    def __call__(self, batch: Columns) -> Columns:
        """Return the batch with the columns text, token_ids, finish_reason and error, which is empty or the reason."""
        column = "messages" if "messages" in batch else "prompt"
        if column not in batch:
            raise PromptError(f"batch: expected a column prompt or messages, got {', '.join(batch)[:200]}")
        ended = [threading.Event() for _ in batch[column]]
        rows = [self._begin(column, value, end) for value, end in zip(batch[column], ended, strict=True)]
        for end in ended:
            end.wait()
        return {
            **batch,
            "text": np.array(["".join(row.texts) for row in rows], object),
            "token_ids": _lists([list(row.ids) for row in rows]),
            "finish_reason": np.array([row.reason for row in rows], object),
            "error": np.array([row.error for row in rows], object),
        }

    def _begin(self, column: str, value: Any, ended: threading.Event) -> _Row:
        """Put a row in the queue; a row that is not valid has ended."""
        row = _Row()

        def end() -> None:
            self._room.release()
            ended.set()

        def listen(event: Event) -> None:
            match event:
                case Token(text=text):
                    row.texts.append(text)
                case Finished(reason=reason, ids=ids):
                    row.reason, row.ids = str(reason), ids
                    end()
                case Failed(error):
                    row.error = str(error)
                    end()

        self._room.acquire()
        try:
            request = parse_request({column: _plain(value), **self._options})
            settings = self._service.settings(request.sampling({}), chat=request.is_chat)
            ids = self._ids(request.prompt, request.is_chat)
            has_text = self._service.tokenizer is not None
            self._service.submit([self._service.job(ids, settings, listen, has_text=has_text)])
        except EngineError as error:
            row.error = str(error)
            end()
        return row

    def _ids(self, prompt: Any, is_chat: bool) -> list[int]:
        return self._service.encode_prompt(prompt) if is_chat or isinstance(prompt, str) else list(prompt)

    def close(self) -> None:
        """Unload the plan."""
        self._service.close()


def _plain(value: Any) -> Any:
    """Return a value of a column as Python's own types: texts, lists of numbers, lists of messages."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _lists(rows: list[list[int]]) -> NDArray[Any]:
    """Return a column of lists, also if all have one length."""
    column = np.empty(len(rows), object)
    for index, row in enumerate(rows):
        column[index] = np.array(row, np.int64)
    return column
