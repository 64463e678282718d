"""A stand-in for `triton_python_backend_utils`, as its documentation describes the classes that a model uses.

Stricter than documented: a wrong type, an unknown output or a response after the last one fails.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

TRITONSERVER_RESPONSE_COMPLETE_FINAL = 1
_TYPES = {"text": np.object_, "tokens": np.int64, "finish_reason": np.object_}


class TritonModelException(Exception):  # noqa: N818, its name there
    pass


class TritonError:
    UNKNOWN, INTERNAL, NOT_FOUND, INVALID_ARG, UNAVAILABLE, UNSUPPORTED, ALREADY_EXISTS, CANCELLED = range(8)

    def __init__(self, message: str, code: int = INTERNAL) -> None:
        assert isinstance(message, str)
        self._message, self._code = message, code

    def message(self) -> str:
        return self._message

    def code(self) -> int:
        return self._code


class Tensor:
    def __init__(self, name: str, values: np.ndarray[Any, Any]) -> None:
        assert isinstance(values, np.ndarray)
        self._name, self._values = name, values

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> np.ndarray[Any, Any]:
        return self._values


class InferenceResponse:
    def __init__(self, output_tensors: Sequence[Tensor] = (), error: TritonError | None = None) -> None:
        for tensor in output_tensors:
            assert tensor.as_numpy().dtype == _TYPES[tensor.name()]
            if tensor.as_numpy().dtype == np.object_:
                assert all(isinstance(item, bytes) for item in tensor.as_numpy())
        self._tensors, self._error = list(output_tensors), error

    def output_tensors(self) -> list[Tensor]:
        return self._tensors

    def has_error(self) -> bool:
        return self._error is not None

    def error(self) -> TritonError | None:
        return self._error


class ResponseSender:
    def __init__(self) -> None:
        self.responses = list[InferenceResponse]()
        self.has_ended = threading.Event()
        self.is_gone = False

    def send(self, response: InferenceResponse | None = None, flags: int = 0) -> None:
        assert not self.has_ended.is_set(), "a response after the last one"
        assert flags in (0, TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        if response is not None:
            self.responses.append(response)
        if flags:
            self.has_ended.set()

    def is_cancelled(self) -> bool:
        return self.is_gone


class InferenceRequest:
    def __init__(self, inputs: Mapping[str, np.ndarray[Any, Any]]) -> None:
        self.tensors = {name: Tensor(name, values) for name, values in inputs.items()}
        self.sender = ResponseSender()

    def get_response_sender(self) -> ResponseSender:
        return self.sender


def get_input_tensor_by_name(request: InferenceRequest, name: str) -> Tensor | None:
    return request.tensors.get(name)


def using_decoupled_model_transaction_policy(config: Mapping[str, Any]) -> bool:
    return bool(config.get("model_transaction_policy", {}).get("decoupled", False))
