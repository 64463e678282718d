"""Element-wise activations of MLPs: each one as a torch function and as ONNX nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor, nn

from archc.compiler.ops.operators import swish

Node = Callable[..., Any]
"""Adds a node and returns its output: op(op_type, *inputs, **attributes)."""


class Activation(NamedTuple):
    """One function: of a torch tensor, and as ONNX nodes."""

    torch: Callable[[Tensor], Tensor]
    nodes: Callable[[Node, Any], Any]


def _relu2_nodes(op: Node, x: Any) -> Any:
    positive = op("Relu", x)
    return op("Mul", positive, positive)


ACTIVATIONS: dict[str, Activation] = {
    "silu": Activation(nn.functional.silu, lambda op, x: op("Mul", x, op("Sigmoid", x))),
    "relu": Activation(nn.functional.relu, lambda op, x: op("Relu", x)),
    "relu2": Activation(lambda x: nn.functional.relu(x).square(), _relu2_nodes),
    "gelu": Activation(nn.functional.gelu, lambda op, x: op("Gelu", x, approximate="none")),
    "gelu_tanh": Activation(
        lambda x: nn.functional.gelu(x, approximate="tanh"),
        lambda op, x: op("Gelu", x, approximate="tanh"),
    ),
}
"""Every activation without parameters, by its name in the vocabulary (Hendrycks & Gimpel 2016; So et al. 2021)."""


def activation(name: str, beta: float = 0.0) -> Callable[[Tensor], Tensor]:
    """Return an activation as a torch function; a beta makes silu x · sigmoid(beta · x) (Ramachandran et al. 2017)."""
    if beta:
        return lambda x: swish(x, beta)
    return ACTIVATIONS[name].torch


def gated(gate: Tensor, up: Tensor, name: str, beta: float, limit: float, up_offset: float) -> Tensor:
    """Return act(gate) · (up + offset), both clamped by the limit first (Shazeer 2020; gpt-oss); 0 disables an option.

    gate and up: [..., width] → [..., width].
    """
    if limit:
        gate, up = gate.clamp(max=limit), up.clamp(-limit, limit)
    product = activation(name, beta)(gate)
    return product * (up + up_offset if up_offset else up)


def activation_nodes(op: Node, number: Callable[[float], Any], x: Any, name: str, beta: float = 0.0) -> Any:
    """Return `activation` as ONNX nodes; `number` makes a constant of x's dtype."""
    if beta:
        return op("Mul", x, op("Sigmoid", op("Mul", x, number(beta))))
    return ACTIVATIONS[name].nodes(op, x)


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
    """Return `gated` as ONNX nodes."""
    if limit:
        gate = op("Min", gate, number(limit))
        up = op("Clip", up, number(-limit), number(limit))
    product = activation_nodes(op, number, gate, name, beta)
    return op("Mul", product, op("Add", up, number(up_offset)) if up_offset else up)
