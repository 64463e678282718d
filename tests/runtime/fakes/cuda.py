"""`cuda.bindings.runtime`, with memory, a stream and graphs of its own."""

# ruff: noqa: N802

from __future__ import annotations

import ctypes
import enum
from collections.abc import Callable
from typing import Any

import numpy as np


class cudaError_t(enum.IntEnum):  # noqa: N801
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorNoDevice = 100
    cudaErrorIllegalAddress = 700
    cudaErrorStreamCaptureUnsupported = 900


class cudaMemcpyKind(enum.IntEnum):  # noqa: N801
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2
    cudaMemcpyDeviceToDevice = 3


class cudaDeviceAttr(enum.IntEnum):  # noqa: N801
    cudaDevAttrComputeCapabilityMajor = 75
    cudaDevAttrComputeCapabilityMinor = 76


class cudaStreamCaptureMode(enum.IntEnum):  # noqa: N801
    cudaStreamCaptureModeGlobal = 0
    cudaStreamCaptureModeThreadLocal = 1


OK = cudaError_t.cudaSuccess
GARBAGE = 0xFF  # NaN as a float, true as a bool, -1 as an integer


class FakeCuda:
    """Stands for the module; one per test."""

    cudaError_t, cudaMemcpyKind, cudaDeviceAttr = cudaError_t, cudaMemcpyKind, cudaDeviceAttr
    cudaStreamCaptureMode, cudaStreamNonBlocking = cudaStreamCaptureMode, 1

    def __init__(self, devices: int = 1, capability: tuple[int, int] = (9, 0), room: int = 1 << 30) -> None:
        self.devices, self.capability, self.room = devices, capability, room
        self.no_device: cudaError_t = OK
        self.memory: dict[int, Any] = {}
        self.pinned: dict[int, Any] = {}
        self.calls: list[str] = []
        self.copied: list[tuple[str, int]] = []
        self.violations: list[str] = []
        self.fails: dict[str, cudaError_t] = {}
        self.launches = 0
        self._streams: dict[int, list[Callable[[], None]]] = {}
        self._recording: dict[int, list[Callable[[], None]]] = {}
        self._graphs: dict[int, list[Callable[[], None]]] = {}
        self._next = 0x7000_0000_0000
        self._freed_hosts: list[Any] = []

    # Methods for the fake of TensorRT.
    def on_device(self, address: int, nbytes: int) -> Any:
        """Return the bytes there, to be read or written; note a violation if they are not one allocation's."""
        for base, data in self.memory.items():
            if base <= address and address + nbytes <= base + len(data):
                return data[address - base : address - base + nbytes]
        return self._violation(f"{nbytes} bytes at {address:#x} are no memory of the device", nbytes)

    def enqueue(self, stream: int, work: Callable[[], None]) -> None:
        (self._recording.get(stream, self._streams[stream])).append(work)

    def is_recording(self, stream: int) -> bool:
        return stream in self._recording

    def _violation(self, what: str, nbytes: int = 0) -> Any:
        self.violations.append(what)
        return np.full(nbytes, GARBAGE, np.uint8)

    def _do(self, name: str, forbidden_while_recording: bool = False) -> cudaError_t:
        self.calls.append(name)
        if forbidden_while_recording and self._recording:
            return cudaError_t.cudaErrorStreamCaptureUnsupported
        return self.fails.pop(name, OK)

    def _drain(self) -> None:
        for queue in self._streams.values():
            while queue:
                queue.pop(0)()

    # The module's functions.
    def cudaGetDeviceCount(self) -> tuple[Any, ...]:
        return self.no_device or self._do("cudaGetDeviceCount"), self.devices

    def cudaSetDevice(self, index: int) -> tuple[Any, ...]:
        return (self._do("cudaSetDevice") if index < self.devices else cudaError_t.cudaErrorInvalidValue,)

    def cudaGetErrorString(self, error: cudaError_t) -> tuple[Any, ...]:
        return OK, error.name.removeprefix("cuda").lower().encode()

    def cudaGetLastError(self) -> tuple[Any, ...]:
        return (self._do("cudaGetLastError"),)

    def cudaDeviceGetAttribute(self, attribute: cudaDeviceAttr, index: int) -> tuple[Any, ...]:
        return self._do("cudaDeviceGetAttribute"), self.capability[int(attribute) - 75]

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Any, ...]:
        handle = 0x100 + len(self._streams)
        self._streams[handle] = []
        return self._do("cudaStreamCreateWithFlags"), handle

    def cudaStreamDestroy(self, stream: int) -> tuple[Any, ...]:
        self._streams.pop(stream)
        return (self._do("cudaStreamDestroy"),)

    def cudaMalloc(self, nbytes: int) -> tuple[Any, ...]:
        error = self._do("cudaMalloc", forbidden_while_recording=True)
        if error == OK and nbytes + sum(map(len, self.memory.values())) > self.room:
            error = cudaError_t.cudaErrorMemoryAllocation
        if error != OK:
            return error, None
        address, self._next = self._next, self._next + -(-nbytes // 4096) * 4096 + 4096  # what overflows hits nothing
        self.memory[address] = np.full(nbytes, GARBAGE, np.uint8)
        return OK, address

    def cudaFree(self, address: int) -> tuple[Any, ...]:
        self._drain()  # freeing waits for what is under way
        if self.memory.pop(address, None) is None:
            self._violation(f"{address:#x} is freed, and was not there")
        return (self._do("cudaFree", forbidden_while_recording=True),)

    def cudaHostAlloc(self, nbytes: int, flags: int) -> tuple[Any, ...]:
        error = self._do("cudaHostAlloc", forbidden_while_recording=True)
        if error != OK:
            return error, None
        data = np.full(nbytes, GARBAGE, np.uint8)
        self.pinned[data.ctypes.data] = data
        return OK, data.ctypes.data

    def cudaFreeHost(self, address: int) -> tuple[Any, ...]:
        self._drain()
        data = self.pinned.pop(address, None)
        if data is None:
            self._violation(f"{address:#x} of the host is freed, and was not there")
        else:
            data[:] = GARBAGE
            self._freed_hosts.append(data)  # stays mapped, so that a late use finds garbage instead of crashing
        return (self._do("cudaFreeHost"),)

    def cudaMemsetAsync(self, address: int, value: int, nbytes: int, stream: int) -> tuple[Any, ...]:
        def work() -> None:
            self.on_device(address, nbytes)[:] = value

        self.enqueue(stream, work)
        return (self._do("cudaMemsetAsync"),)

    def cudaMemcpyAsync(
        self, target: int, source: int, nbytes: int, kind: cudaMemcpyKind, stream: int
    ) -> tuple[Any, ...]:
        to_device = kind == cudaMemcpyKind.cudaMemcpyHostToDevice
        host = source if to_device else target
        self.copied.append(("up" if to_device else "down", nbytes))
        is_pinned = any(base <= host and host + nbytes <= base + len(data) for base, data in self.pinned.items())
        view = np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(host)) if nbytes else np.zeros(0, np.uint8)
        if to_device and not is_pinned:
            view = view.copy()  # pageable memory is staged before the call returns

        def work() -> None:
            if to_device:
                self.on_device(target, nbytes)[:] = view
            else:
                view[:] = self.on_device(source, nbytes)

        self.enqueue(stream, work)
        return (self._do("cudaMemcpyAsync"),)

    def cudaStreamSynchronize(self, stream: int) -> tuple[Any, ...]:
        error = self._do("cudaStreamSynchronize", forbidden_while_recording=True)
        if error == OK:
            self._drain()
            if self.violations:
                return (cudaError_t.cudaErrorIllegalAddress,)
        return (error,)

    def cudaStreamBeginCapture(self, stream: int, mode: cudaStreamCaptureMode) -> tuple[Any, ...]:
        self._recording[stream] = []
        return (self._do("cudaStreamBeginCapture"),)

    def cudaStreamEndCapture(self, stream: int) -> tuple[Any, ...]:
        handle = 0x5000 + len(self._graphs)
        self._graphs[handle] = self._recording.pop(stream)
        return self._do("cudaStreamEndCapture"), handle

    def cudaGraphInstantiate(self, graph: int, flags: int) -> tuple[Any, ...]:
        handle = 0x5000 + len(self._graphs)
        self._graphs[handle] = list(self._graphs[graph])
        return self._do("cudaGraphInstantiate"), handle

    def cudaGraphDestroy(self, graph: int) -> tuple[Any, ...]:
        self._graphs[graph] = [lambda: self._violation("a graph is used after its end")]
        return (self._do("cudaGraphDestroy"),)

    def cudaGraphExecDestroy(self, graph: int) -> tuple[Any, ...]:
        self._graphs[graph] = [lambda: self._violation("a graph is launched after its end")]
        return (self._do("cudaGraphExecDestroy"),)

    def cudaGraphLaunch(self, graph: int, stream: int) -> tuple[Any, ...]:
        self.launches += 1
        for work in self._graphs[graph]:
            self.enqueue(stream, work)
        return (self._do("cudaGraphLaunch"),)
