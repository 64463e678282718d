"""Memory, one stream and graphs of the CUDA device, through cuda-python."""

from __future__ import annotations

import ctypes
import math
import weakref
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archc.error import install_hint
from archc.runtime.errors import BackendError, EngineError

ALIGNMENT = 256  # bytes, as TensorRT requires for addresses


class CudaError(EngineError):
    """A call of the CUDA runtime failed; `name` is the name of the CUDA error."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class Memory:
    """Device memory, freed with its last reference."""

    def __init__(self, address: int, nbytes: int, free: Callable[[int], object]) -> None:
        self.address, self.nbytes = address, nbytes
        weakref.finalize(self, free, address).atexit = False  # the driver frees the memory of a process that ends


class Pinned:
    """Page-locked host memory, uint8 [nbytes], for copies without staging."""

    def __init__(self, address: int, nbytes: int, free: Callable[[int], object]) -> None:
        self.address = address
        self.array: NDArray[np.uint8] = np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(address))
        weakref.finalize(self, free, address).atexit = False


class Graph:
    """An instantiated CUDA graph."""

    def __init__(self, handle: Any, destroy: Callable[[Any], object]) -> None:
        self.handle = handle
        weakref.finalize(self, destroy, handle).atexit = False


class Device:
    """The first visible CUDA device, and one stream for all work.

    Raises BackendError if the package, the driver or a device is missing.
    """

    def __init__(self, extra: str) -> None:
        try:
            self._cuda: Any = import_module("cuda.bindings.runtime")
        except ImportError as error:
            raise BackendError(f"cuda-python cannot be imported ({error}); install it, {install_hint(extra)}") from None
        cuda = self._cuda
        status, count = cuda.cudaGetDeviceCount()
        if status != cuda.cudaError_t.cudaSuccess or not count:
            reason = self._describe(status) if status != cuda.cudaError_t.cudaSuccess else "none is visible"
            raise BackendError(
                f"no NVIDIA GPU found that CUDA supports ({reason}), which this plan requires; check nvidia-smi and "
                "CUDA_VISIBLE_DEVICES, or build with --target ort-cpu"
            )
        self._do("cudaSetDevice", 0)
        attributes = cuda.cudaDeviceAttr
        self.capability = ".".join(
            str(self._do("cudaDeviceGetAttribute", attribute, 0))
            for attribute in (
                attributes.cudaDevAttrComputeCapabilityMajor,
                attributes.cudaDevAttrComputeCapabilityMinor,
            )
        )
        self._stream = self._do("cudaStreamCreateWithFlags", cuda.cudaStreamNonBlocking)
        weakref.finalize(self, cuda.cudaStreamDestroy, self._stream).atexit = False

    @property
    def stream(self) -> int:
        """Return the stream's handle as an integer."""
        return int(self._stream)

    def allocate(self, nbytes: int, purpose: str) -> Memory:
        """Return uninitialized device memory; raise EngineError if there is not enough."""
        try:
            # cudaMalloc does not accept numbers beyond the address space.
            size = min(max(1, nbytes), 2**62)
            return Memory(int(self._do("cudaMalloc", size)), nbytes, self._cuda.cudaFree)
        except CudaError as error:
            if error.name != "cudaErrorMemoryAllocation":
                raise
            self._cuda.cudaGetLastError()
            raise EngineError(
                f"not enough GPU memory: {nbytes / 2**20:,.1f} MiB for {purpose}; use shorter or fewer sequences, or "
                "free some (nvidia-smi)"
            ) from None

    def pinned(self, nbytes: int) -> Pinned:
        """Return page-locked host memory."""
        size = max(1, nbytes)
        return Pinned(int(self._do("cudaHostAlloc", size, 0)), size, self._cuda.cudaFreeHost)

    def zero(self, address: int, nbytes: int) -> None:
        """Fill memory with zeros, in stream order."""
        self._do("cudaMemsetAsync", address, 0, nbytes, self._stream)

    def upload(self, address: int, host: NDArray[Any]) -> None:
        """Copy a contiguous array to the device, in stream order."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._do("cudaMemcpyAsync", address, host.ctypes.data, host.nbytes, kind, self._stream)

    def download(self, host: NDArray[Any], address: int) -> None:
        """Copy from the device to a contiguous array, which is complete after `synchronize`."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._do("cudaMemcpyAsync", host.ctypes.data, address, host.nbytes, kind, self._stream)

    def synchronize(self) -> None:
        """Wait until all work on the stream is done."""
        self._do("cudaStreamSynchronize", self._stream)

    def capture(self, work: Callable[[], object]) -> Graph:
        """Capture the work that `work` puts on the stream as a CUDA graph; raise EngineError if that is impossible."""
        cuda = self._cuda
        # Thread-local: other threads of the process may allocate meanwhile.
        self._do("cudaStreamBeginCapture", self._stream, cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)
        try:
            work()
        except BaseException:
            _, broken = cuda.cudaStreamEndCapture(self._stream)  # its status repeats the error of `work`
            if broken is not None and int(broken):
                cuda.cudaGraphDestroy(broken)
            cuda.cudaGetLastError()  # otherwise the next kernel launch reports this error
            raise
        captured = self._do("cudaStreamEndCapture", self._stream)
        try:
            return Graph(self._do("cudaGraphInstantiate", captured, 0), cuda.cudaGraphExecDestroy)
        finally:
            self._do("cudaGraphDestroy", captured)

    def launch(self, graph: Graph) -> None:
        """Launch a graph on the stream."""
        self._do("cudaGraphLaunch", graph.handle, self._stream)

    def _do(self, name: str, *args: Any) -> Any:
        """Call a function of the CUDA runtime and return its result; raise CudaError for an error."""
        error, *results = getattr(self._cuda, name)(*args)
        if error != self._cuda.cudaError_t.cudaSuccess:
            raise CudaError(str(error.name), f"CUDA failed in {name}: {self._describe(error)}; check nvidia-smi")
        return results[0] if results else None

    def _describe(self, error: Any) -> str:
        _, text = self._cuda.cudaGetErrorString(error)
        return f"{error.name}: {text.decode() if isinstance(text, bytes) else text}"


class DeviceBuffer:
    """A tensor in device memory, initially zero."""

    def __init__(self, device: Device, shape: tuple[int, ...], itemsize: int) -> None:
        self.shape, self.itemsize = shape, itemsize
        nbytes = math.prod(shape) * itemsize
        self._memory = device.allocate(nbytes, f"a state of {list(shape)}")
        device.zero(self._memory.address, nbytes)

    @property
    def address(self) -> int:
        """Return the device address of its first byte."""
        return self._memory.address
