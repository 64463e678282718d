"""TensorRT: the targets tensorrt and tensorrt-rtx, one module for both packages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archc.plan.dtypes import DTYPES
from archc.plan.manifest import Encoder, Manifest
from archc.plan.reader import ENCODER, MODEL, Plan
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
from archc.runtime.errors import EngineError

_FEWEST_KEYS = 256
_MOST_LENGTHS = 16


class TensorRtBackend:
    """One of a plan's engines on the GPU: what every call runs, or the encoder of an encoder-decoder.

    Raises BackendError if cuda-python, TensorRT or a GPU is missing or is not what the engine was built for, PlanError
    if the engine is not what the manifest says. `cuda_graph` records the steps of one token.
    """

    device = "cuda"
    threads = 1
    growth = 1.0  # caches have the engine's size

    def __init__(self, plan: Plan, graph: str = MODEL, cuda_graph: bool = True) -> None:
        described: Manifest | Encoder = plan.manifest
        if graph == ENCODER:
            assert plan.manifest.encoder is not None
            described = plan.manifest.encoder
        section = described.engine
        assert section is not None  # the manifest's own checks
        self.gpu = open_device(section, plan)
        trt = import_tensorrt(section, plan)
        self.opened, self.section, self.described = OpenEngine(trt, plan, section, cuda_graph), section, described
        plan.check_unchanged()
        check_engine(self.opened, described, section, f"{plan.path}: {section.file}")
        self.states = {state.input: state for state in described.state} if isinstance(described, Manifest) else {}
        self._contexts = dict[int, Any]()
        self.lock = Lock()  # a context serves one call at a time, and every call is on one stream

    @property
    def capacity(self) -> int | None:
        """How many slots a cache has, no more and no fewer."""
        return self.section.capacity or self.described.limits.max_seq_len

    def keys(self, total: int, seq: int) -> int:
        """Return how long a mask is made for `total` keys: one new token's has few lengths, since each is recorded."""
        if seq > 1 or self.section.capacity is None:
            return total
        step = max(_FEWEST_KEYS, -(-self.section.capacity // _MOST_LENGTHS // 64) * 64)
        return min(-(-total // step) * step, self.section.capacity)

    def allocate(self, shape: tuple[int, ...], dtype: str) -> DeviceBuffer:
        """Return a new buffer of zeros; raise EngineError if there is no memory for it."""
        return DeviceBuffer(self.gpu, shape, DTYPES[dtype].storage.itemsize)

    def grown(self, buffer: Buffer, axis: int, size: int) -> DeviceBuffer:
        """Caches have the engine's size from the start."""
        raise EngineError(f"a cache of this plan has {self.capacity} slots; build it with a larger --max-seq-len")

    def bind(self, state: Sequence[Binding]) -> TensorRtCall:
        """Return a call that keeps its state in the given buffers."""
        return TensorRtCall(self, state)

    def context(self, profile: int, repeated: bool) -> Any:
        """Return an execution context: the one of the profile, or one that nothing else uses."""
        if repeated:
            return self.opened.context(profile, self.gpu.stream, repeated)
        if profile not in self._contexts:
            self._contexts[profile] = self.opened.context(profile, self.gpu.stream, repeated)
        return self._contexts[profile]


class TensorRtCall:
    """An engine with its state bound. The frame of the latest call is kept as long as calls of one token repeat it."""

    def __init__(self, backend: TensorRtBackend, state: Sequence[Binding]) -> None:
        self._backend, self._state = backend, state
        self._frame: Frame | None = None
        self._key: tuple[object, ...] = ()

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]) -> None:
        """Execute the engine on `feeds` and fill `outputs`; raise EngineError if the execution fails."""
        with self._backend.lock:
            self._run(feeds, outputs)

    def _run(self, feeds: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]) -> None:
        backend = self._backend
        arrays = {name: _not_empty(array) for name, array in feeds.items()}
        key = (*((name, array.shape) for name, array in arrays.items()), *outputs)
        if self._frame is None or key != self._key:
            self._frame = None  # lets its memory go before the next one takes some
            sizes = self._sizes(arrays)
            repeated = any(binding.input is not None for binding in self._state) and any(
                item.role == "token_ids" and arrays[item.name].shape[-1] == 1 for item in backend.described.inputs
            )
            context = backend.context(choose_profile(backend.section, sizes), repeated)
            frame = Frame(
                backend.opened, backend.gpu, context, backend.described.outputs, self._state, arrays, outputs, repeated
            )
            if not repeated:
                frame.run(arrays, outputs)
                return
            self._frame, self._key = frame, key
        self._frame.run(arrays, outputs)

    def _sizes(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, int]:
        """Return what the call makes of every named axis."""
        sizes = dict[str, int]()
        shapes = [(item.name, item.shape, feeds[item.name].shape) for item in self._backend.described.inputs]
        for binding in self._state:
            if binding.input is not None:
                shapes.append((binding.input, self._backend.states[binding.input].shape, binding.buffer.shape))
        for name, shape, found in shapes:
            for axis, size in zip(shape, found, strict=True):
                expected = sizes.setdefault(axis, size) if isinstance(axis, str) else axis
                if expected != size:
                    raise EngineError(f"{name!r} is {list(found)}, and this call has {expected} where it has {size}")
        return sizes


def _not_empty(array: NDArray[Any]) -> NDArray[Any]:
    """Return zeros of at least one place where an input asks for none: engines take no empty tensors."""
    return array if array.size else np.zeros([max(1, size) for size in array.shape], array.dtype)
