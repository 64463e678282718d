"""An ONNX model of one node as bytes, so that a measurement requires no ONNX package.

Field numbers are those of onnx.proto3: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from archc.plan.dtypes import DTYPES
from archc.plan.wire import bytes_field, number_field

_IR_VERSION, _OPSET = 10, 21
_INT_ATTRIBUTE = 2


def one_node_model(
    op: str,
    domain: str,
    x: tuple[str, Sequence[int]],
    initializers: Mapping[str, NDArray[Any]],
    inputs: Sequence[str],
    output: Sequence[int],
    attributes: Mapping[str, int],
    dtype: str = "float32",
) -> bytes:
    """Return a model that applies `op` to a graph input `x` (dtype, shape) and to `initializers`.

    `inputs` are the node's inputs by name, in order, with "x" among them; the output `y` has that shape and `dtype`.
    """
    node = (
        b"".join(bytes_field(1, name.encode()) for name in inputs) + bytes_field(2, b"y") + bytes_field(4, op.encode())
    )
    node += b"".join(
        bytes_field(5, bytes_field(1, name.encode()) + number_field(3, value) + number_field(20, _INT_ATTRIBUTE))
        for name, value in attributes.items()
    )
    node += bytes_field(7, domain.encode())
    graph = bytes_field(1, node) + bytes_field(2, b"product")
    graph += b"".join(bytes_field(5, _tensor(name, array)) for name, array in initializers.items())
    graph += bytes_field(11, _value("x", *x)) + bytes_field(12, _value("y", dtype, output))
    opsets = b"".join(
        bytes_field(8, bytes_field(1, name.encode()) + number_field(2, version))
        for name, version in (("", _OPSET), ("com.microsoft", 1))
    )
    return number_field(1, _IR_VERSION) + bytes_field(7, graph) + opsets


def _tensor(name: str, array: NDArray[Any]) -> bytes:
    dims = b"".join(number_field(1, size) for size in array.shape)
    element = number_field(2, DTYPES[array.dtype.name].onnx)
    return dims + element + bytes_field(8, name.encode()) + bytes_field(9, array.tobytes())


def _value(name: str, dtype: str, shape: Sequence[int]) -> bytes:
    dims = b"".join(bytes_field(1, number_field(1, size)) for size in shape)
    tensor = number_field(1, DTYPES[dtype].onnx) + bytes_field(2, dims)
    return bytes_field(1, name.encode()) + bytes_field(2, bytes_field(1, tensor))
