"""Memory, one stream and graphs of the CUDA device, by plain allocations through cuda-python; no torch."""

from __future__ import annotations

import ctypes
import math
import weakref
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archc.runtime.errors import BackendError, EngineError

ALIGNMENT = 256  # bytes: what TensorRT asks of its addresses


class CudaError(EngineError):
    """A call of the CUDA runtime failed; `name` is the error's."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class Memory:
    """Bytes of the device; freed when nothing refers to it any more."""

    def __init__(self, address: int, nbytes: int, free: Callable[[int], object]) -> None:
        self.address, self.nbytes = address, nbytes
        weakref.finalize(self, free, address).atexit = False  # the driver takes back what a process leaves


class Pinned:
    """Bytes of the host that the device copies from and to without staging, uint8 [nbytes]."""

    def __init__(self, address: int, nbytes: int, free: Callable[[int], object]) -> None:
        self.address = address
        self.array: NDArray[np.uint8] = np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(address))
        weakref.finalize(self, free, address).atexit = False


class Graph:
    """Recorded work, launched whole."""

    def __init__(self, handle: Any, destroy: Callable[[Any], object]) -> None:
        self.handle = handle
        weakref.finalize(self, destroy, handle).atexit = False


class Device:
    """The first CUDA device that this process may see, and the stream that everything is done on, in order.

    Raises BackendError, saying what to install or check, if the package, the driver or a device is missing.
    """

    def __init__(self, extra: str) -> None:
        try:
            self._cuda: Any = import_module("cuda.bindings.runtime")
        except ImportError as error:
            raise BackendError(f'cuda-python cannot be imported ({error}): pip install "archc[{extra}]"') from None
        cuda = self._cuda
        status, count = cuda.cudaGetDeviceCount()
        if status != cuda.cudaError_t.cudaSuccess or not count:
            why = self._said(status) if status != cuda.cudaError_t.cudaSuccess else "none is visible"
            raise BackendError(
                f"this plan needs an NVIDIA GPU, and there is none that CUDA can use ({why}): check nvidia-smi and "
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
        """The stream's handle, as TensorRT takes it."""
        return int(self._stream)

    def allocate(self, nbytes: int, what: str) -> Memory:
        """Return uninitialised memory of the device for `what`; raise EngineError if there is not so much left."""
        try:
            # What no address can count is refused here: the call would not take the number.
            size = min(max(1, nbytes), 2**62)
            return Memory(int(self._do("cudaMalloc", size)), nbytes, self._cuda.cudaFree)
        except CudaError as error:
            if error.name != "cudaErrorMemoryAllocation":
                raise
            self._cuda.cudaGetLastError()
            raise EngineError(
                f"the GPU has no {nbytes / 2**20:,.1f} MiB left for {what}: use shorter or fewer sequences, or free "
                "some (nvidia-smi)"
            ) from None

    def pinned(self, nbytes: int) -> Pinned:
        """Return memory of the host for copies that do not wait."""
        size = max(1, nbytes)
        return Pinned(int(self._do("cudaHostAlloc", size, 0)), size, self._cuda.cudaFreeHost)

    def zero(self, address: int, nbytes: int) -> None:
        """Fill with zeros, in the stream's order."""
        self._do("cudaMemsetAsync", address, 0, nbytes, self._stream)

    def upload(self, address: int, host: NDArray[Any]) -> None:
        """Copy a contiguous array to the device, in the stream's order."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._do("cudaMemcpyAsync", address, host.ctypes.data, host.nbytes, kind, self._stream)

    def download(self, host: NDArray[Any], address: int) -> None:
        """Copy from the device into a contiguous array, which holds it only after `synchronize`."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._do("cudaMemcpyAsync", host.ctypes.data, address, host.nbytes, kind, self._stream)

    def synchronize(self) -> None:
        """Wait until everything on the stream is done."""
        self._do("cudaStreamSynchronize", self._stream)

    def capture(self, work: Callable[[], object]) -> Graph:
        """Return what `work` puts on the stream, recorded instead of done; raise EngineError if it cannot be."""
        cuda = self._cuda
        # Other threads of the process may go on allocating meanwhile.
        self._do("cudaStreamBeginCapture", self._stream, cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)
        try:
            work()
        except BaseException:
            _, broken = cuda.cudaStreamEndCapture(self._stream)  # says again what `work` said
            if broken is not None and int(broken):
                cuda.cudaGraphDestroy(broken)
            cuda.cudaGetLastError()  # else the next kernel's launch would find the error that is dealt with here
            raise
        recorded = self._do("cudaStreamEndCapture", self._stream)
        try:
            return Graph(self._do("cudaGraphInstantiate", recorded, 0), cuda.cudaGraphExecDestroy)
        finally:
            self._do("cudaGraphDestroy", recorded)

    def launch(self, graph: Graph) -> None:
        """Do what was recorded."""
        self._do("cudaGraphLaunch", graph.handle, self._stream)

    def _do(self, name: str, *arguments: Any) -> Any:
        """Call the function of that name and return its result; raise CudaError for an error."""
        error, *results = getattr(self._cuda, name)(*arguments)
        if error != self._cuda.cudaError_t.cudaSuccess:
            raise CudaError(str(error.name), f"CUDA failed in {name}: {self._said(error)}")
        return results[0] if results else None

    def _said(self, error: Any) -> str:
        _, text = self._cuda.cudaGetErrorString(error)
        return f"{error.name}: {text.decode() if isinstance(text, bytes) else text}"


class DeviceBuffer:
    """A tensor in the device's memory, zero when it is made."""

    def __init__(self, device: Device, shape: tuple[int, ...], itemsize: int) -> None:
        self.shape, self.itemsize = shape, itemsize
        nbytes = math.prod(shape) * itemsize
        self._memory = device.allocate(nbytes, f"a state of {list(shape)}")
        device.zero(self._memory.address, nbytes)

    @property
    def address(self) -> int:
        """Where its first byte is, on the device."""
        return self._memory.address
