"""The backend of serialized TensorRT engines; the packages tensorrt and tensorrt_rtx have the same interface."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archc.plan.dtypes import DTYPES
from archc.plan.manifest import Manifest
from archc.plan.reader import ENCODER, MODEL, Plan
from archc.plan.records import Encoder
from archc.runtime.backends.base import Binding, Buffer
from archc.runtime.backends.tensorrt.cuda import DeviceBuffer
from archc.runtime.backends.tensorrt.engine import (
    OpenEngine,
    check_engine,
    choose_profile,
    import_tensorrt,
    open_device,
)
from archc.runtime.backends.tensorrt.frame import Frame
from archc.runtime.errors import EngineError, fit_length

_MIN_MASK_STEP = 256  # keys
_MAX_MASK_LENGTHS = 16  # of decode steps, each of which is captured


class TensorRtBackend:
    """One of a plan's engines on the GPU: the model, or the encoder of an encoder-decoder.

    `cuda_graph` captures steps of one token. Raises BackendError if cuda-python, TensorRT or a GPU is missing or does
    not fit the engine, PlanError if the engine does not match the manifest.
    """

    device = "cuda"
    threads = 1
    growth = 1.0  # caches have a fixed capacity

    def __init__(self, plan: Plan, graph: str = MODEL, cuda_graph: bool = True) -> None:
        manifest: Manifest | Encoder = plan.manifest
        if graph == ENCODER:
            assert plan.manifest.encoder is not None
            manifest = plan.manifest.encoder
        section = manifest.engine
        assert section is not None  # checked by the manifest
        self.gpu = open_device(section, plan)
        trt = import_tensorrt(section, plan)
        self.opened, self.section, self.manifest = OpenEngine(trt, plan, section, cuda_graph), section, manifest
        plan.check_unchanged()
        check_engine(self.opened, manifest, section, f"{plan.path}: {section.file}")
        self.states = {state.input: state for state in manifest.state} if isinstance(manifest, Manifest) else {}
        self._contexts = dict[int, Any]()
        self.lock = Lock()  # a context runs one call at a time, and all calls use one stream

    @property
    def capacity(self) -> int | None:
        """Return the fixed number of slots of every cache."""
        return self.section.capacity or self.manifest.limits.max_seq_len

    def mask_length(self, total: int, seq: int) -> int:
        """Return `total`; in steps of one token the next of few lengths, because each is captured as a CUDA graph."""
        if seq > 1 or self.section.capacity is None:
            return total
        step = max(_MIN_MASK_STEP, -(-self.section.capacity // _MAX_MASK_LENGTHS // 64) * 64)
        return min(-(-total // step) * step, self.section.capacity)

    def allocate(self, shape: tuple[int, ...], dtype: str) -> DeviceBuffer:
        """Return a new buffer of zeros; raise EngineError if there is not enough memory."""
        return DeviceBuffer(self.gpu, shape, DTYPES[dtype].storage.itemsize)

    def grown(self, buffer: Buffer, axis: int, size: int) -> DeviceBuffer:
        """Raise EngineError, because caches have the engine's capacity from the start."""
        raise EngineError(
            f"cache: expected at most {self.capacity} slots, got {size}; "
            f"{fit_length('use shorter sequences', self.manifest.limits)}"
        )

    def select(self, buffer: Buffer, rows: NDArray[np.int64]) -> DeviceBuffer:
        """Return a buffer with these rows of the first axis: `buffer` itself, changed, if their number is the same."""
        assert isinstance(buffer, DeviceBuffer)
        row_bytes = math.prod(buffer.shape[1:]) * buffer.itemsize
        host = np.empty((buffer.shape[0], row_bytes), np.uint8)
        with self.lock:
            self.gpu.download(host, buffer.address)
            self.gpu.synchronize()
            selected = np.ascontiguousarray(host[rows])
            if len(rows) != buffer.shape[0]:
                buffer = DeviceBuffer(self.gpu, (len(rows), *buffer.shape[1:]), buffer.itemsize)
            self.gpu.upload(buffer.address, selected)
            self.gpu.synchronize()
        return buffer

    def bind(self, state: Sequence[Binding]) -> TensorRtCall:
        """Return a call that keeps its state in these buffers."""
        return TensorRtCall(self, state)

    def context(self, profile: int, repeated: bool) -> Any:
        """Return an execution context: a new one for a repeated step, otherwise the shared one of the profile."""
        if repeated:
            return self.opened.context(profile, self.gpu.stream, repeated)
        if profile not in self._contexts:
            self._contexts[profile] = self.opened.context(profile, self.gpu.stream, repeated)
        return self._contexts[profile]


class TensorRtCall:
    """An engine with bound state. The frame of a step of one token is reused while the shapes are the same."""

    def __init__(self, backend: TensorRtBackend, state: Sequence[Binding]) -> None:
        self._backend, self._state = backend, state
        self._frame: Frame | None = None
        self._key: tuple[object, ...] = ()

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]) -> None:
        """Run the engine on `feeds` and fill `outputs`; raise EngineError if the execution fails."""
        with self._backend.lock:
            self._run(feeds, outputs)

    def _run(self, feeds: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]) -> None:
        backend = self._backend
        arrays = {name: _not_empty(array) for name, array in feeds.items()}
        key = (*((name, array.shape) for name, array in arrays.items()), *outputs)
        if self._frame is None or key != self._key:
            self._frame = None  # releases its memory before the next frame allocates
            sizes = self._sizes(arrays)
            repeated = any(binding.input is not None for binding in self._state) and any(
                item.role == "token_ids" and arrays[item.name].shape[-1] == 1 for item in backend.manifest.inputs
            )
            context = backend.context(choose_profile(backend.section, sizes), repeated)
            frame = Frame(
                backend.opened, backend.gpu, context, backend.manifest.outputs, self._state, arrays, outputs, repeated
            )
            if not repeated:
                frame.run(arrays, outputs)
                return
            self._frame, self._key = frame, key
        self._frame.run(arrays, outputs)

    def _sizes(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, int]:
        """Return the sizes of all named axes in a call; raise EngineError if they are inconsistent."""
        sizes = dict[str, int]()
        shapes = [(item.name, item.shape, feeds[item.name].shape) for item in self._backend.manifest.inputs]
        shapes += [
            (binding.input, self._backend.states[binding.input].shape, binding.buffer.shape)
            for binding in self._state
            if binding.input is not None
        ]
        for name, declared, actual in shapes:
            for axis, size in zip(declared, actual, strict=True):
                expected = sizes.setdefault(axis, size) if isinstance(axis, str) else axis
                if expected != size:
                    raise EngineError(
                        f"{name!r}: expected {expected} for the axis {axis!r}, got {size} in {list(actual)}; "
                        "build the plan again"
                    )
        return sizes


def _not_empty(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array, or zeros with at least one element, because engines do not support empty tensors."""
    return array if array.size else np.zeros([max(1, size) for size in array.shape], array.dtype)
