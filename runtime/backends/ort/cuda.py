"""The CUDA execution provider: its options, and CUDA graphs for decode steps of one token."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from importlib import import_module
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archc.plan.dtypes import DTYPES
from archc.runtime.backends.base import Binding
from archc.runtime.backends.ort.buffer import ort_value
from archc.runtime.backends.ort.call import OrtCall, execution_error
from archc.runtime.errors import EngineError

_NOT_CAPTURED = -1
_GRAPH_IDS = count(1)  # distinguish the graphs of one session
Arrays = Mapping[str, NDArray[Any]]


def prepare(ort: Any) -> None:
    """Load the CUDA libraries of installed pip packages, so that the provider finds them."""
    with redirect_stdout(sys.stderr):  # it prints the libraries that are missing
        ort.preload_dlls()


def provider_options(cuda_graph: bool) -> dict[str, str]:
    """Return the options of the CUDA provider.

    TF32 is off, because it reduces the 24-bit significand of float32 products to 11 bits. The arena grows by the
    requested size, because powers of two waste memory after a long prompt.
    """
    return {
        "use_tf32": "0",
        "arena_extend_strategy": "kSameAsRequested",
        "enable_cuda_graph": "1" if cuda_graph else "0",
    }


def run_options(ort: Any, graph: int = _NOT_CAPTURED) -> Any:
    """Return the options of a run that captures or replays the CUDA graph of that id."""
    options = ort.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(graph))
    return options


class CapturedCall(OrtCall):
    """An OrtCall that captures steps of one token as CUDA graphs; a graph is replayed while the shapes are the same."""

    _step: CapturedStep | None = None
    _key: tuple[object, ...] = ()

    def __init__(self, session: Any, state: Sequence[Binding], dtypes: Mapping[str, str], ids: str) -> None:
        super().__init__(session, state, dtypes)
        self._options = run_options(import_module("onnxruntime"))
        self._ids = ids
        self._bindings = [(b, ort_value(b.buffer), ort_value(b.target or b.buffer)) for b in state]

    def run(self, feeds: Arrays, outputs: Arrays) -> None:
        """Run the graph on `feeds` and fill `outputs`; raise EngineError if the execution fails."""
        if not self._bindings or feeds[self._ids].shape[-1] != 1 or not all(array.size for array in feeds.values()):
            super().run(feeds, outputs)
            return
        key = (*((name, array.shape) for name, array in feeds.items()), *outputs)
        try:
            if self._step is None or key != self._key:
                self._release()
                self._step = CapturedStep(self._session, self._bindings, feeds, outputs, self._dtypes)
                self._key = key
            self._step.run(feeds, outputs)
        except EngineError:
            raise
        except Exception as error:  # ONNX Runtime's exceptions have no common base class
            raise execution_error(error) from None

    def _release(self) -> None:
        if self._step is not None:
            self._step.close()
            self._step = None

    def __del__(self) -> None:
        self._release()


class CapturedStep:
    """A step of one token with all tensors at fixed device addresses, as a CUDA graph requires.

    A graph contains addresses and no names: small inputs overwrite those of the previous call.
    """

    def __init__(
        self,
        session: Any,
        state: Sequence[tuple[Binding, Any, Any]],
        feeds: Arrays,
        outputs: Arrays,
        dtypes: Mapping[str, str],
    ) -> None:
        self._ort, self._session, self._id = import_module("onnxruntime"), session, next(_GRAPH_IDS)
        self._io, self._dtypes = session.io_binding(), dtypes
        for binding, source, target in state:
            if binding.input is not None:
                self._io.bind_ortvalue_input(binding.input, source)
            if binding.output is not None:
                self._io.bind_ortvalue_output(binding.output, target)
        self._feeds = {name: self._on_device(array.shape, dtypes[name]) for name, array in feeds.items()}
        self._outputs = {name: self._on_device(array.shape, dtypes[name]) for name, array in outputs.items()}
        for name, value in self._feeds.items():
            self._io.bind_ortvalue_input(name, value)
        for name, value in self._outputs.items():
            self._io.bind_ortvalue_output(name, value)
        self._options = run_options(self._ort, self._id)

    def run(self, feeds: Arrays, outputs: Arrays) -> None:
        """Run the graph on `feeds` and fill the arrays of `outputs`."""
        for name, array in feeds.items():
            self._feeds[name].update_inplace(self._on_host(np.ascontiguousarray(array), name))
        self._session.run_with_iobinding(self._io, self._options)
        for name, array in outputs.items():
            self._on_host(array, name).update_inplace(self._outputs[name])

    def close(self) -> None:
        """Release the CUDA graph."""
        self._session.release_captured_graph(self._id)

    def _on_host(self, array: NDArray[Any], name: str) -> Any:
        return self._ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array, DTYPES[self._dtypes[name]].onnx)

    def _on_device(self, shape: tuple[int, ...], dtype: str) -> Any:
        return self._ort.OrtValue.ortvalue_from_shape_and_type(list(shape), DTYPES[dtype].onnx, "cuda", 0)
