"""The table of element types: names of the manifest, ONNX and TensorRT, width in bits, and numpy type."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DTypeName = Literal[
    "float32",
    "uint8",
    "int8",
    "uint16",
    "int16",
    "int32",
    "int64",
    "bool",
    "float16",
    "float64",
    "uint32",
    "uint64",
    "bfloat16",
    "float8e4m3fn",
    "float8e5m2",
    "uint4",
    "int4",
    "float4e2m1",
]


@dataclass(frozen=True)
class DType:
    """One element type.

    `storage_name` names the numpy type that holds its bits: the type itself where numpy has it, otherwise an unsigned
    integer of that width, or of two elements. `tensorrt` is None for types that no engine has as an input or output.
    """

    name: DTypeName
    onnx: int
    onnx_name: str
    bits: int
    storage_name: str
    tensorrt: str | None

    @cached_property
    def storage(self) -> np.dtype[Any]:
        """Return the numpy type that holds the bits; numpy is imported here, because specs are checked without it."""
        import numpy as np

        return np.dtype(self.storage_name)

    @property
    def ort(self) -> str:
        """Return the name of a tensor of this type in ONNX Runtime, such as `tensor(float)`."""
        return f"tensor({self.onnx_name.lower()})"

    def nbytes(self, count: int) -> int:
        """Return the size in bytes of `count` elements; two 4-bit elements share one byte."""
        return (count * self.bits + 7) // 8


_ROWS: tuple[tuple[DTypeName, int, str, int, str, str | None], ...] = (
    ("float32", 1, "FLOAT", 32, "float32", "FLOAT"),
    ("uint8", 2, "UINT8", 8, "uint8", "UINT8"),
    ("int8", 3, "INT8", 8, "int8", "INT8"),
    ("uint16", 4, "UINT16", 16, "uint16", None),
    ("int16", 5, "INT16", 16, "int16", None),
    ("int32", 6, "INT32", 32, "int32", "INT32"),
    ("int64", 7, "INT64", 64, "int64", "INT64"),
    ("bool", 9, "BOOL", 8, "bool", "BOOL"),
    ("float16", 10, "FLOAT16", 16, "float16", "HALF"),
    ("float64", 11, "DOUBLE", 64, "float64", None),
    ("uint32", 12, "UINT32", 32, "uint32", None),
    ("uint64", 13, "UINT64", 64, "uint64", None),
    ("bfloat16", 16, "BFLOAT16", 16, "uint16", "BF16"),
    ("float8e4m3fn", 17, "FLOAT8E4M3FN", 8, "uint8", None),
    ("float8e5m2", 19, "FLOAT8E5M2", 8, "uint8", None),
    ("uint4", 21, "UINT4", 4, "uint8", None),
    ("int4", 22, "INT4", 4, "uint8", None),
    ("float4e2m1", 23, "FLOAT4E2M1", 4, "uint8", None),
)

DTYPES: dict[str, DType] = {
    name: DType(name, onnx, onnx_name, bits, storage, tensorrt)
    for name, onnx, onnx_name, bits, storage, tensorrt in _ROWS
}
"""Element types by their name in the manifest."""


def to_float32(values: NDArray[Any], dtype: str) -> NDArray[np.float32]:
    """Return `values`, stored as the storage type of `dtype`, as float32."""
    import numpy as np

    if dtype == "bfloat16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32, copy=False)
