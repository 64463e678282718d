"""An ONNX model of one node as bytes, so that a measurement requires no ONNX package.

Field numbers are those of onnx.proto3: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from archc.plan.dtypes import DTYPES

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
    node = b"".join(_message(1, name.encode()) for name in inputs) + _message(2, b"y") + _message(4, op.encode())
    node += b"".join(
        _message(5, _message(1, name.encode()) + _number(3, value) + _number(20, _INT_ATTRIBUTE))
        for name, value in attributes.items()
    )
    node += _message(7, domain.encode())
    graph = _message(1, node) + _message(2, b"product")
    graph += b"".join(_message(5, _tensor(name, array)) for name, array in initializers.items())
    graph += _message(11, _value("x", *x)) + _message(12, _value("y", dtype, output))
    opsets = b"".join(
        _message(8, _message(1, name.encode()) + _number(2, version))
        for name, version in (("", _OPSET), ("com.microsoft", 1))
    )
    return _number(1, _IR_VERSION) + _message(7, graph) + opsets


def _tensor(name: str, array: NDArray[Any]) -> bytes:
    dims = b"".join(_number(1, size) for size in array.shape)
    element = _number(2, DTYPES[array.dtype.name].onnx)
    return dims + element + _message(8, name.encode()) + _message(9, array.tobytes())


def _value(name: str, dtype: str, shape: Sequence[int]) -> bytes:
    dims = b"".join(_message(1, _number(1, size)) for size in shape)
    tensor = _number(1, DTYPES[dtype].onnx) + _message(2, dims)
    return _message(1, name.encode()) + _message(2, _message(1, tensor))


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*parts, value))
