"""Element-wise functions of MLPs, in torch and as ONNX nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from archc.compiler.ops.operators import swish

Node = Callable[..., Any]
"""Adds a node and gives its output: op(op_type, *inputs, **attributes)."""


def activation(name: str, beta: float = 0.0) -> Callable[[Tensor], Tensor]:
    """The function of an `Activation` word (Hendrycks & Gimpel 2016 for the GELUs); a beta of 0 is none."""
    if beta:
        return lambda x: swish(x, beta)
    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "silu": nn.functional.silu,
        "relu": nn.functional.relu,
        "gelu": nn.functional.gelu,
        "relu2": lambda x: nn.functional.relu(x).square(),
        "gelu_tanh": lambda x: nn.functional.gelu(x, approximate="tanh"),
    }
    return functions[name]


def gated(gate: Tensor, up: Tensor, name: str, beta: float, limit: float, up_offset: float) -> Tensor:
    """act(gate) · (up + offset), both clamped first; zeros stand for no such option (Shazeer 2020; gpt-oss)."""
    if limit:
        gate, up = gate.clamp(max=limit), up.clamp(-limit, limit)
    product = activation(name, beta)(gate)
    return product * (up + up_offset if up_offset else up)


def activation_nodes(op: Node, number: Callable[[float], Any], x: Any, name: str, beta: float = 0.0) -> Any:
    """`activation` as ONNX nodes; `number` gives a constant of x's dtype."""
    match name:
        case "silu":
            return op("Mul", x, op("Sigmoid", op("Mul", x, number(beta)) if beta else x))
        case "relu":
            return op("Relu", x)
        case "relu2":
            positive = op("Relu", x)
            return op("Mul", positive, positive)
        case "gelu":
            return op("Gelu", x, approximate="none")
        case "gelu_tanh":
            return op("Gelu", x, approximate="tanh")
    raise ValueError(name)


def gated_nodes(
    op: Node,
    number: Callable[[float], Any],
    gate: Any,
    up: Any,
    name: str,
    beta: float,
    limit: float,
    up_offset: float,
) -> Any:
    """`gated` as ONNX nodes."""
    if limit:
        gate = op("Min", gate, number(limit))
        up = op("Clip", up, number(-limit), number(limit))
    product = activation_nodes(op, number, gate, name, beta)
    return op("Mul", product, op("Add", up, number(up_offset)) if up_offset else up)
