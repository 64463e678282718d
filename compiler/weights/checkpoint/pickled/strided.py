"""Strided views of bytes in a file: only the part that is asked for is read, in a bounded amount of memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from io import FileIO

import torch
from torch import Tensor

from archc.compiler.weights.checkpoint.files import read_into
from archc.compiler.weights.checkpoint.weights import Place

# Bytes between the first and the last element of a view that are read at once.
_SPAN_BYTES = 64 * 2**20

TORCH_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "C64": torch.complex64,
    "C128": torch.complex128,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "F8_E8M0": torch.float8_e8m0fnu,
}
"""Element types of torch, by their names in safetensors."""


@dataclass(frozen=True)
class View:
    """Elements at offset + Σ index · stride, counted in elements."""

    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def end(self) -> int:
        """The position behind the last element; 0 if there is none."""
        if 0 in self.shape:
            return 0
        return self.offset + 1 + sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))

    def at(self, place: Place) -> View:
        """Return the part at a place along the first axes."""
        offset, sizes = self.offset, list[int]()
        for at, step in zip(place, self.stride, strict=False):
            offset += (at.start if isinstance(at, slice) else at) * step
            if isinstance(at, slice):
                sizes.append(at.stop - at.start)
        ranges = [step for at, step in zip(place, self.stride, strict=False) if isinstance(at, slice)]
        rest = len(place)
        return View(offset, (*sizes, *self.shape[rest:]), (*ranges, *self.stride[rest:]))

    def narrow(self, axis: int, start: int, size: int) -> View:
        """Return a range of an axis."""
        sizes = [*self.shape]
        sizes[axis] = size
        return replace(self, offset=self.offset + start * self.stride[axis], shape=tuple(sizes))

    def is_contiguous(self) -> bool:
        """Return whether elements lie one after another in row-major order."""
        step = 1
        for size, stride in zip(reversed(self.shape), reversed(self.stride), strict=True):
            if size != 1 and stride != step:
                return False
            step *= size
        return True


class StridedReader:
    """Views of the elements of a file from byte `start` on."""

    def __init__(self, file: FileIO, start: int, dtype: torch.dtype) -> None:
        self._file, self._start, self._dtype = file, start, dtype

    def read(self, view: View) -> Tensor:
        """Return the elements of a view, contiguous. Raises OSError if the file ends before them."""
        if view.is_contiguous():
            return self._read_range(view.offset, math.prod(view.shape)).reshape(view.shape)
        value = torch.empty(view.shape, dtype=self._dtype)
        if value.numel():
            self._fill(value, view)
        return value

    def _fill(self, value: Tensor, view: View) -> None:
        """Read a view into a tensor; one that spans too many bytes is split along its outermost axis."""
        span = view.end - view.offset
        if span * self._dtype.itemsize <= _SPAN_BYTES or value.numel() == 1:
            flat = self._read_range(view.offset, span)
            value.copy_(flat.as_strided(view.shape, view.stride))
            return
        extents = [(size - 1) * step for size, step in zip(view.shape, view.stride, strict=True)]
        axis = extents.index(max(extents))
        half, size = view.shape[axis] // 2, view.shape[axis]
        self._fill(value.narrow(axis, 0, half), view.narrow(axis, 0, half))
        self._fill(value.narrow(axis, half, size - half), view.narrow(axis, half, size - half))

    def _read_range(self, first: int, count: int) -> Tensor:
        buffer = torch.empty(count * self._dtype.itemsize, dtype=torch.uint8)
        read_into(self._file, self._start + first * self._dtype.itemsize, buffer)
        return buffer.view(self._dtype)
