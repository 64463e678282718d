"""The loop of a batch: requests into the slots of a service, results as they finish."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from archc.cli.batch.lines import Line, count_lines, read_lines
from archc.cli.batch.output import Output
from archc.cli.console import Progress
from archc.runtime.errors import EngineError
from archc.runtime.serving.job import Event, Failed, Finished, Token
from archc.runtime.serving.requests import Request
from archc.runtime.serving.service import Service

_REASONS = {"eos": "stop", "stop": "stop", "length": "length"}


@dataclass
class _Running:
    line: Line
    texts: list[str] = field(default_factory=list)


class Batch:
    """Requests of a file; `options` are those of the command line by name, which a request's own replace."""

    def __init__(self, service: Service, output: Output, options: Mapping[str, Any]) -> None:
        self.failed = output.errors
        self._service, self._output = service, output
        self._options = {name: value for name, value in options.items() if name != "defaults"}
        self._defaults = bool(options.get("defaults", True))
        self._ended = SimpleQueue[tuple[_Running, Finished | Failed]]()
        self._running = 0

    def run(self, path: Path, progress: Progress) -> None:
        """Compute all requests of a file that are not in the output."""
        total, done = count_lines(path), 0
        for line in read_lines(path):
            if line.id in self._output.ids:
                done += 1
                continue
            while self._running >= 2 * self._service.options.slots:
                done += self._take()
                progress("requests", done, total)
            if not self._begin(line):
                done += 1
            progress("requests", done, total)
        while self._running:
            done += self._take()
            progress("requests", done, total)

    def _begin(self, line: Line) -> bool:
        """Submit a line's request; return whether it is computed, otherwise its error is written."""
        if line.request is None:
            self._fail(line, line.error)
            return False
        running = _Running(line)

        def listen(event: Event) -> None:
            if isinstance(event, Token):
                running.texts.append(event.text)
            elif isinstance(event, Finished | Failed):
                self._ended.put((running, event))

        try:
            request = line.request
            options = request.sampling(self._options)
            settings = self._service.settings(options, self._defaults, chat=request.is_chat)
            self._service.submit([self._service.job(self._ids(request), settings, listen)])
        except EngineError as error:
            self._fail(line, str(error))
            return False
        self._running += 1
        return True

    def _ids(self, request: Request) -> list[int]:
        prompt = request.prompt
        if not isinstance(prompt, str) and not request.is_chat:
            return prompt  # type: ignore[return-value]
        return self._service.encode_prompt(prompt)  # type: ignore[arg-type]

    def _take(self) -> int:
        """Write the next result; return 1."""
        running, event = self._ended.get()
        self._running -= 1
        if isinstance(event, Failed):
            self._fail(running.line, str(event.error))
        else:
            self._output.write(self._record(running, event))
        return 1

    def _fail(self, line: Line, message: str) -> None:
        self.failed += 1
        error = {"code": "invalid_request", "message": message}
        self._output.write({"id": _new_id("batch_req"), "custom_id": line.id, "response": None, "error": error})

    def _record(self, running: _Running, finished: Finished) -> dict[str, Any]:
        line, text = running.line, "".join(running.texts)
        assert line.request is not None
        is_chat = line.request.is_chat
        choice: dict[str, Any] = {"index": 0}
        choice |= {"message": {"role": "assistant", "content": text}} if is_chat else {"text": text}
        if self._service.tokenizer is None:
            choice["token_ids"] = list(finished.ids)
        choice |= {"logprobs": None, "finish_reason": _REASONS[finished.reason]}
        prompt, new = finished.prompt_tokens, len(finished.ids)
        body = {
            "id": _new_id("chatcmpl" if is_chat else "cmpl"),
            "object": "chat.completion" if is_chat else "text_completion",
            "created": int(time.time()),
            "model": line.model or self._service.plan.path.stem,
            "choices": [choice],
            "usage": {
                "prompt_tokens": prompt,
                "completion_tokens": new,
                "total_tokens": prompt + new,
                "prompt_tokens_details": {"cached_tokens": finished.cached_tokens},
            },
        }
        response = {"status_code": 200, "request_id": _new_id("req"), "body": body}
        return {"id": _new_id("batch_req"), "custom_id": line.id, "response": response, "error": None}


def _new_id(kind: str) -> str:
    return f"{kind}_{uuid.uuid4().hex}"
