"""One call of a TensorRT engine: an execution context with tensor shapes and addresses, and its CUDA graph."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archc.plan.dtypes import DTYPES
from archc.plan.records import Output
from archc.runtime.backends.base import Binding
from archc.runtime.backends.tensorrt.cuda import ALIGNMENT, Device, Graph
from archc.runtime.backends.tensorrt.engine import OpenEngine
from archc.runtime.errors import EngineError

Arrays = Mapping[str, NDArray[Any]]
_RUNS_BEFORE_CAPTURE = 1  # a context can be captured only after a run with its shapes


class Frame:
    """A context for calls of fixed shapes: small inputs are uploaded in one copy, requested outputs downloaded in one.

    A repeated frame has page-locked host memory for both and is captured as a CUDA graph at its second run. Its context
    must not change after that, so no other frame uses its context and workspace.
    """

    def __init__(
        self,
        opened: OpenEngine,
        device: Device,
        context: Any,
        outputs: Sequence[Output],
        state: Sequence[Binding],
        feeds: Arrays,
        requested: Arrays,
        repeated: bool,
    ) -> None:
        self._opened, self._device, self._context, self._state = opened, device, context, state
        self._repeated, self._runs = repeated, 0
        self._graph: Graph | None = None
        for name, array in feeds.items():
            self._shape(name, array.shape)
        for binding in state:
            if binding.input is not None:
                self._shape(binding.input, binding.buffer.shape)
        for binding in state:
            if binding.output is not None:
                self._result(binding.output, (binding.target or binding.buffer).shape)
        bound = {binding.output for binding in state}
        results = {
            output.name: (
                self._result(output.name, requested[output.name].shape if output.name in requested else None),
                output,
            )
            for output in outputs
            if output.name not in bound
        }
        with opened.log.explaining("TensorRT cannot compute its memory size"):
            nbytes = context.update_device_memory_size_for_shapes()
            self._workspace = device.allocate(nbytes, "the activations")
            context.set_device_memory(self._workspace.address, nbytes)

        self._feeds, end = _offsets({name: array.nbytes for name, array in feeds.items()})
        self._inputs = device.allocate(end, "the inputs")
        # Requested outputs come first, so that they are contiguous.
        sizes = {
            name: math.prod(shape) * DTYPES[output.dtype].storage.itemsize
            for name, (shape, output) in sorted(results.items(), key=lambda item: item[0] not in requested)
        }
        self._results, length = _offsets(sizes)
        self._outputs = device.allocate(length, "the outputs")
        self._requested = max((self._results[name] + sizes[name] for name in requested if name in sizes), default=0)
        self._from_host = device.pinned(end) if repeated else None
        self._to_host = device.pinned(self._requested) if repeated else None
        self._packed = self._from_host.array if self._from_host is not None else np.empty(end, np.uint8)
        for name, offset in self._feeds.items():
            self._place(name, self._inputs.address + offset)
        for name, offset in self._results.items():
            self._place(name, self._outputs.address + offset)
        for binding in state:
            if binding.input is not None:
                self._place(binding.input, binding.buffer.address)
            if binding.output is not None:
                self._place(binding.output, (binding.target or binding.buffer).address)

    def run(self, feeds: Arrays, outputs: Arrays) -> None:
        """Run the engine on `feeds` and fill the arrays of `outputs`; both have the shapes of the frame."""
        for name, offset in self._feeds.items():
            array = feeds[name]
            self._packed[offset : offset + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        self._device.upload(self._inputs.address, self._packed)
        self._execute()
        if self._to_host is None:
            for name, array in outputs.items():
                self._device.download(array, self._outputs.address + self._results[name])
            self._device.synchronize()
            return
        if self._requested:
            self._device.download(self._to_host.array[: self._requested], self._outputs.address)
        self._device.synchronize()
        for name, array in outputs.items():
            offset = self._results[name]
            array.reshape(-1).view(np.uint8)[:] = self._to_host.array[offset : offset + array.nbytes]

    def _execute(self) -> None:
        self._runs += 1
        if self._repeated and self._graph is None and self._runs > _RUNS_BEFORE_CAPTURE and self._opened.captures:
            try:
                self._graph = self._device.capture(self._enqueue)
            except EngineError as error:
                self._opened.captures = False
                warnings.warn(
                    f"the decode step cannot be captured as a CUDA graph, so it runs slower: {error}",
                    RuntimeWarning,
                    stacklevel=2,
                )
        if self._graph is not None:
            self._device.launch(self._graph)
        else:
            self._enqueue()

    def _enqueue(self) -> None:
        with self._opened.log.explaining("the engine failed to run"):
            self._opened.need(self._context.execute_async_v3(self._device.stream), "to run")

    def _shape(self, name: str, shape: tuple[int, ...]) -> None:
        with self._opened.log.explaining(f"TensorRT rejects {name!r}"):
            self._opened.need(self._context.set_input_shape(name, shape), f"{name!r} of {list(shape)}")

    def _place(self, name: str, address: int) -> None:
        with self._opened.log.explaining(f"TensorRT rejects {name!r}"):
            self._opened.need(self._context.set_tensor_address(name, address), f"an address for {name!r}")

    def _result(self, name: str, expected: tuple[int, ...] | None) -> tuple[int, ...]:
        """Return the shape of an output for the frame's inputs; raise EngineError if it is not the expected one."""
        shape = tuple(self._context.get_tensor_shape(name))
        if any(size < 0 for size in shape) or (expected is not None and shape != expected):
            sizes = list(expected) if expected is not None else "known sizes"
            raise EngineError(f"output {name!r}: expected {sizes}, got {list(shape)}; build the plan again")
        return shape


def _offsets(sizes: Mapping[str, int]) -> tuple[dict[str, int], int]:
    """Return an aligned offset in bytes for each name, and the end of the last one."""
    offsets, end = dict[str, int](), 0
    for name, nbytes in sizes.items():
        offsets[name] = -(-end // ALIGNMENT) * ALIGNMENT
        end = offsets[name] + nbytes
    return offsets, end
