"""ONNX operators as functions of values: `op.MatMul(a, b)` makes a node and gives its output."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir

OPSET = 24


class Opset:
    """The operators of one domain. A node belongs to no graph yet; absent inputs are None."""

    def __init__(self, domain: str) -> None:
        self._domain = domain

    def __getattr__(self, op_type: str) -> Callable[..., Any]:
        return partial(self._node, op_type)

    def _node(self, op_type: str, *inputs: ir.Value | None, outputs: int = 1, **attributes: Any) -> Any:
        """One output as a value, several as a tuple."""
        last = max((place for place, value in enumerate(inputs) if value is not None), default=-1)
        converted = [ir.convenience.convert_attribute(name, value) for name, value in attributes.items()]
        node = ir.Node(self._domain, op_type, inputs[: last + 1], converted, num_outputs=outputs)
        return node.outputs[0] if outputs == 1 else tuple(node.outputs)


op = Opset("")


def ints(*values: int) -> ir.Value:
    """A constant int64 vector."""
    return constant(np.array(values, np.int64))


def number(value: float, dtype: ir.DataType) -> ir.Value:
    """A constant scalar."""
    return constant(np.array(value, dtype.numpy()))


def constant(array: Any) -> ir.Value:
    """A constant with these numbers."""
    value = op.Constant(value=ir.tensor(array))
    value.type, value.shape = ir.TensorType(ir.DataType.from_numpy(array.dtype)), ir.Shape(array.shape)
    assert isinstance(value, ir.Value)
    return value
