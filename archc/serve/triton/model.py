"""The model of Triton's Python backend. Only Triton has the module `triton_python_backend_utils`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import triton_python_backend_utils as pb_utils

from archc.error import Error
from archc.runtime.errors import CacheFullError, EngineError, PromptError, QueueFullError
from archc.runtime.generation.options import SamplingOptions
from archc.runtime.serving.requests import chat_messages
from archc.runtime.serving.service import Service, ServiceOptions
from archc.serve.triton.responses import Responses, Running
from archc.serve.triton.signature import OPTIONS, PROMPTS, Port, read_input


class PlanModel:
    """A plan whose slots compute the requests of Triton together. `path` is that of the plan."""

    path: ClassVar[Path]

    def initialize(self, args: Mapping[str, str]) -> None:
        """Load the plan, with the parameters of config.pbtxt. Raises TritonModelException if that fails."""
        config = json.loads(args["model_config"])
        if not pb_utils.using_decoupled_model_transaction_policy(config):
            raise pb_utils.TritonModelException("config.pbtxt: expected a decoupled model; export it again")
        numbers = {key: int(value["string_value"]) for key, value in config.get("parameters", {}).items()}
        options = ServiceOptions(
            slots=numbers.get("slots", 8), queue=numbers.get("queue", 64), threads=numbers.get("threads")
        )
        try:
            self._service = Service(self.path, options)
        except Error as error:
            raise pb_utils.TritonModelException(str(error)) from error
        self._responses = Responses(pb_utils)

    def execute(self, requests: Sequence[Any]) -> None:
        """Put requests in the queue; their responses are sent by another thread as tokens come."""
        for request in requests:
            sender = request.get_response_sender()
            try:
                self._begin(request, sender)
            except EngineError as error:
                self._responses.refuse(sender, str(error), _code(error))

    def _begin(self, request: Any, sender: Any) -> None:
        prompts = {port.name: value for port in PROMPTS if (value := _read(request, port)) is not None}
        if len(prompts) != 1:
            raise PromptError(f"inputs: expected one of prompt, messages and ids, got {len(prompts)}")
        ((kind, prompt),) = prompts.items()
        given = {port.option: value for port in OPTIONS if (value := _read(request, port)) is not None}
        options = SamplingOptions.from_keywords({str(option): value for option, value in given.items()})
        settings = self._service.settings(options, chat=kind == "messages")
        running = Running(sender)
        has_text = self._service.tokenizer is not None
        listener = self._responses.listener(running)
        running.job = self._service.job(self._ids(kind, prompt), settings, listener, has_text=has_text)
        self._responses.add(running)
        try:
            self._service.submit([running.job])
        except EngineError:
            self._responses.forget(running)
            raise

    def _ids(self, kind: str, prompt: Any) -> list[int]:
        if kind == "ids":
            return list(prompt)
        if kind == "prompt":
            return self._service.encode_prompt(prompt)
        try:
            messages = json.loads(prompt)
        except (ValueError, RecursionError) as error:
            raise PromptError(f"messages: not JSON: {error}") from None
        return self._service.encode_prompt(chat_messages(messages))

    def finalize(self) -> None:
        """Answer the requests that run, and unload the plan."""
        self._service.close(drain=True)
        self._responses.close()


def _read(request: Any, port: Port) -> Any:
    tensor = pb_utils.get_input_tensor_by_name(request, port.name)
    return None if tensor is None else read_input(port, tensor.as_numpy())


def _code(error: EngineError) -> Any:
    match error:
        case PromptError() | CacheFullError():
            return pb_utils.TritonError.INVALID_ARG
        case QueueFullError():
            return pb_utils.TritonError.UNAVAILABLE
        case _:
            return pb_utils.TritonError.INTERNAL
