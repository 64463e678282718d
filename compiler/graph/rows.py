"""Nodes that work on each row of [B, S, N] alone."""

from __future__ import annotations

import onnx_ir as ir

from archc.compiler.graph.domains import ARCHC

_ELEMENTWISE = frozenset({
    "Abs", "Add", "Cast", "Clip", "Div", "Erf", "Exp", "Gelu", "Identity", "Max", "Min", "Mul", "Neg", "Pow",
    "Relu", "Sigmoid", "Softplus", "Sqrt", "Sub", "Swish", "Tanh", "Where",
})  # fmt: skip
_BY_ROW = ("Linear", "Norm")


def without_rows(graph: ir.Graph) -> set[ir.Value | None]:
    """Return the values that are the same for every position: weights, constants, and values computed from them."""
    constant: set[ir.Value | None] = {None, *graph.initializers.values()}
    for node in graph:
        if constant.issuperset(node.inputs):
            constant.update(node.outputs)
    return constant


def works_by_row(node: ir.Node, constant: set[ir.Value | None]) -> bool:
    """Return whether each row of a node's result [B, S, N] depends on that row of its inputs only."""
    rows = [value for value in node.inputs if value not in constant]
    if not all(value is not None and has_rows(value) for value in rows):
        return False
    if not node.domain and node.op_type in _ELEMENTWISE:
        return True
    return node.domain == ARCHC and node.op_type in _BY_ROW and rows == [node.inputs[0]]


def has_rows(value: ir.Value) -> bool:
    """Return whether a value is [B, S, N]; an axis B or S of a fixed size is broadcast."""
    return value.shape is not None and len(value.shape) == 3 and not any(isinstance(n, int) for n in value.shape[:2])
