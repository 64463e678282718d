"""Element types by the plan's names: how wide they are, and how numpy and ONNX call them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

DTypeName = Literal[
    "float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "bool", "float16", "float64", "uint32", "uint64",
    "bfloat16", "float8e4m3fn", "float8e5m2", "uint4", "int4", "float4e2m1",
]  # fmt: skip


@dataclass(frozen=True)
class DType:
    """One element type: its ONNX number, its width in bits, and the numpy type that can hold its bits."""

    onnx: int
    bits: int
    storage: np.dtype[Any]

    def nbytes(self, count: int) -> int:
        """Return the bytes that `count` elements take, four-bit types packed in pairs."""
        return (count * self.bits + 7) // 8


def _dtype(onnx: int, bits: int, storage: type) -> DType:
    return DType(onnx, bits, np.dtype(storage))


DTYPES: dict[str, DType] = {
    "float32": _dtype(1, 32, np.float32),
    "uint8": _dtype(2, 8, np.uint8),
    "int8": _dtype(3, 8, np.int8),
    "uint16": _dtype(4, 16, np.uint16),
    "int16": _dtype(5, 16, np.int16),
    "int32": _dtype(6, 32, np.int32),
    "int64": _dtype(7, 64, np.int64),
    "bool": _dtype(9, 8, np.bool_),
    "float16": _dtype(10, 16, np.float16),
    "float64": _dtype(11, 64, np.float64),
    "uint32": _dtype(12, 32, np.uint32),
    "uint64": _dtype(13, 64, np.uint64),
    "bfloat16": _dtype(16, 16, np.uint16),  # numpy has no bfloat16: its bits travel as uint16
    "float8e4m3fn": _dtype(17, 8, np.uint8),
    "float8e5m2": _dtype(19, 8, np.uint8),
    "uint4": _dtype(21, 4, np.uint8),
    "int4": _dtype(22, 4, np.uint8),
    "float4e2m1": _dtype(23, 4, np.uint8),
}


def to_float32(values: NDArray[Any], dtype: str) -> NDArray[np.float32]:
    """Return `values`, stored as `dtype` stores its bits, as float32."""
    if dtype == "bfloat16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32, copy=False)
