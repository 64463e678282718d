"""State tensors as OrtValues."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archc.plan.dtypes import DTYPES
from archc.runtime.backends.base import Buffer
from archc.runtime.errors import EngineError

_ALIGNMENT = 64  # bytes: a cache line, and the widest vector load


class OrtBuffer:
    """A tensor as an OrtValue; on the CPU, a view of `host`."""

    def __init__(self, host: NDArray[Any], dtype: str, device: str) -> None:
        ort = import_module("onnxruntime")

        self.dtype, self.shape, self.device = dtype, host.shape, device
        self.value = ort.OrtValue.ortvalue_from_numpy_with_onnx_type(host, DTYPES[dtype].onnx)
        if device != "cpu":
            on_host, onnx_type = self.value, DTYPES[dtype].onnx
            self.value = ort.OrtValue.ortvalue_from_shape_and_type(list(host.shape), onnx_type, device, 0)
            self.value.update_inplace(on_host)
        self.host = host if device == "cpu" else None

    @property
    def address(self) -> int:
        """Return the device address of its first byte."""
        return int(self.value.data_ptr())

    def select(self, rows: NDArray[np.int64]) -> OrtBuffer:
        """Return a buffer with these rows of the first axis: this one, changed, if their number is the same."""
        old = self.read()
        if len(rows) != self.shape[0]:
            host = aligned_zeros((len(rows), *self.shape[1:]), self.dtype)
            np.take(old, rows, axis=0, out=host)
            return OrtBuffer(host, self.dtype, self.device)
        moved = np.flatnonzero(rows != np.arange(len(rows)))
        if self.host is not None:
            self.host[moved] = self.host[rows[moved]]
        elif len(moved):
            ort = import_module("onnxruntime")
            on_host = ort.OrtValue.ortvalue_from_numpy_with_onnx_type(old[rows], DTYPES[self.dtype].onnx)
            self.value.update_inplace(on_host)
        return self

    def grown(self, axis: int, size: int) -> OrtBuffer:
        """Return a copy with `axis` padded with zeros to `size`."""
        host = aligned_zeros((*self.shape[:axis], size, *self.shape[axis + 1 :]), self.dtype)
        host[(slice(None),) * axis + (slice(self.shape[axis]),)] = self.read()
        return OrtBuffer(host, self.dtype, self.device)

    def read(self) -> NDArray[Any]:
        """Return the contents in their storage type: a view on the CPU, a copy elsewhere."""
        if self.host is not None:
            return self.host
        ort = import_module("onnxruntime")

        copy = np.empty(self.shape, DTYPES[self.dtype].storage)
        ort.OrtValue.ortvalue_from_numpy_with_onnx_type(copy, DTYPES[self.dtype].onnx).update_inplace(self.value)
        return copy


class OrtBuffers:
    """The buffers of a backend's states, on its device."""

    device: str

    @property
    def capacity(self) -> None:
        """Return None: caches may have any number of slots."""
        return

    def allocate(self, shape: tuple[int, ...], dtype: str) -> OrtBuffer:
        """Return a new buffer of zeros; raise EngineError if there is not enough memory."""
        return OrtBuffer(aligned_zeros(shape, dtype), dtype, self.device)

    def grown(self, buffer: Buffer, axis: int, size: int) -> OrtBuffer:
        """Return a copy of `buffer` with `axis` padded with zeros to `size`."""
        assert isinstance(buffer, OrtBuffer)
        return buffer.grown(axis, size)

    def select(self, buffer: Buffer, rows: NDArray[np.int64]) -> OrtBuffer:
        """Return a buffer with these rows of the first axis: `buffer` itself, changed, if their number is the same."""
        assert isinstance(buffer, OrtBuffer)
        return buffer.select(rows)


def ort_value(buffer: Buffer) -> Any:
    """Return the OrtValue of a buffer."""
    assert isinstance(buffer, OrtBuffer)
    return buffer.value


def aligned_zeros(shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """Return aligned zeros, whose pages the system allocates on first write; raise EngineError without memory."""
    storage = DTYPES[dtype].storage
    try:
        count = int(np.prod(shape, dtype=object)) * storage.itemsize
        raw = np.zeros(count + _ALIGNMENT, np.uint8)
    except (MemoryError, ValueError, OverflowError):
        raise EngineError(
            f"state: not enough memory for {dtype} {list(shape)}; use shorter or fewer sequences"
        ) from None
    start = -raw.ctypes.data % _ALIGNMENT
    return raw[start : start + count].view(storage).reshape(shape)
