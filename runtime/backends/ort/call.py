"""Calls of an ONNX Runtime session with bound state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from numpy.typing import NDArray

from archc.plan.dtypes import DTYPES
from archc.runtime.backends.base import Binding
from archc.runtime.backends.ort.buffer import ort_value
from archc.runtime.backends.ort.package import first_line
from archc.runtime.errors import EngineError


class OrtCall:
    """A session's IOBinding that is reused by every call: only the small inputs and the outputs change."""

    _options: Any = None

    def __init__(self, session: Any, state: Sequence[Binding], dtypes: Mapping[str, str]) -> None:
        self._session, self._state, self._dtypes = session, state, dtypes
        self._from_numpy = import_module("onnxruntime").OrtValue.ortvalue_from_numpy_with_onnx_type
        self._io = session.io_binding()
        self._bound: frozenset[str] = frozenset()
        for binding in state:
            if binding.input is not None:
                self._io.bind_ortvalue_input(binding.input, ort_value(binding.buffer))
        self._bind_state_outputs()

    def _bind_state_outputs(self) -> None:
        for binding in self._state:
            if binding.output is not None:
                self._io.bind_ortvalue_output(binding.output, ort_value(binding.target or binding.buffer))

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]) -> None:
        """Run the graph on `feeds` and fill `outputs`; raise EngineError if the execution fails."""
        if not self._bound <= outputs.keys():
            self._io.clear_binding_outputs()
            self._bind_state_outputs()
        self._bound = frozenset(outputs)
        for name, array in feeds.items():
            self._io.bind_cpu_input(name, array)
        for name, array in outputs.items():
            self._io.bind_ortvalue_output(name, self._from_numpy(array, DTYPES[self._dtypes[name]].onnx))
        try:
            self._session.run_with_iobinding(self._io, self._options)
        except Exception as error:  # ONNX Runtime's exceptions have no common base class
            raise execution_error(error) from None


def execution_error(error: Exception) -> EngineError:
    """Return the EngineError of a failed call."""
    return EngineError(f"the graph failed to run: {first_line(error)}; build the plan again")
