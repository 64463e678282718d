"""ONNX Runtime's CUDA provider: its options, and steps that it records as CUDA graphs."""

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

_NOT_RECORDED = -1
_IDS = count(1)  # graphs of one session are told apart by these
Arrays = Mapping[str, NDArray[Any]]


def prepare(ort: Any) -> None:
    """Load the CUDA libraries that were installed as packages beside ONNX Runtime, for the provider to find."""
    with redirect_stdout(sys.stderr):  # it prints what it does not find
        ort.preload_dlls()


def provider_options(recorded: bool) -> dict[str, str]:
    """Return the options of the CUDA provider.

    TF32 would cut float32's 24 bits to 11 in every product. Without unlimited arena growth in powers of two, what a
    long prompt took is not rounded up.
    """
    return {
        "use_tf32": "0",
        "arena_extend_strategy": "kSameAsRequested",
        "enable_cuda_graph": "1" if recorded else "0",
    }


class RecordedStep:
    """One token's call with everything on the device at addresses that stay, so that it can be recorded and replayed.

    A recorded graph knows addresses and not names: small inputs are written over those of the last call.
    """

    def __init__(
        self, session: Any, state: Sequence[tuple[Binding, Any, Any]], feeds: Arrays, outputs: Arrays,
        dtypes: Mapping[str, str],
    ) -> None:  # fmt: skip
        self._ort, self._session, self._id = import_module("onnxruntime"), session, next(_IDS)
        self._io, self._dtypes = session.io_binding(), dtypes
        for binding, read, filled in state:
            if binding.input is not None:
                self._io.bind_ortvalue_input(binding.input, read)
            if binding.output is not None:
                self._io.bind_ortvalue_output(binding.output, filled)
        self._feeds = {name: self._on_device(array.shape, dtypes[name]) for name, array in feeds.items()}
        self._outputs = {name: self._on_device(array.shape, dtypes[name]) for name, array in outputs.items()}
        for name, value in self._feeds.items():
            self._io.bind_ortvalue_input(name, value)
        for name, value in self._outputs.items():
            self._io.bind_ortvalue_output(name, value)
        self._options = run_options(self._ort, self._id)

    def run(self, feeds: Arrays, outputs: Arrays) -> None:
        """Execute on `feeds` and fill the arrays of `outputs`."""
        for name, array in feeds.items():
            self._feeds[name].update_inplace(self._on_host(np.ascontiguousarray(array), name))
        self._session.run_with_iobinding(self._io, self._options)
        for name, array in outputs.items():
            self._on_host(array, name).update_inplace(self._outputs[name])

    def close(self) -> None:
        """Let go of what was recorded."""
        self._session.release_captured_graph(self._id)

    def _on_host(self, array: NDArray[Any], name: str) -> Any:
        return self._ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array, DTYPES[self._dtypes[name]].onnx)

    def _on_device(self, shape: tuple[int, ...], dtype: str) -> Any:
        return self._ort.OrtValue.ortvalue_from_shape_and_type(list(shape), DTYPES[dtype].onnx, "cuda", 0)


def run_options(ort: Any, graph: int = _NOT_RECORDED) -> Any:
    """Return the options of a run that records, or replays, the graph of that number."""
    options = ort.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(graph))
    return options
