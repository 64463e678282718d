"""Element-wise activations of MLPs: each one as a torch function and as ONNX nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor, nn

from archc.compiler.graph.builder import Builder
from archc.compiler.ops.operators import swish


class Activation(NamedTuple):
    """One function: of a torch tensor, and as the nodes that a builder adds for a value x."""

    torch: Callable[[Tensor], Tensor]
    nodes: Callable[[Builder, Any], Any]


_QUICK_GELU = 1.702


def _relu2_nodes(op: Builder, x: Any) -> Any:
    positive = op.Relu(x)
    return op.Mul(positive, positive)


ACTIVATIONS: dict[str, Activation] = {
    "silu": Activation(nn.functional.silu, lambda op, x: op.Swish(x, alpha=1.0)),
    "quick_gelu": Activation(lambda x: swish(x, _QUICK_GELU), lambda op, x: op.Swish(x, alpha=_QUICK_GELU)),
    "relu": Activation(nn.functional.relu, lambda op, x: op.Relu(x)),
    "relu2": Activation(lambda x: nn.functional.relu(x).square(), _relu2_nodes),
    "gelu": Activation(nn.functional.gelu, lambda op, x: op.Gelu(x, approximate="none")),
    "gelu_tanh": Activation(
        lambda x: nn.functional.gelu(x, approximate="tanh"),
        lambda op, x: op.Gelu(x, approximate="tanh"),
    ),
}
"""Every activation without parameters, by its name in the vocabulary (Hendrycks & Gimpel 2016; So et al. 2021)."""


def activation(name: str, beta: float = 0.0) -> Callable[[Tensor], Tensor]:
    """Return an activation as a torch function; a beta makes silu x · sigmoid(beta · x) (Ramachandran et al. 2017)."""
    if beta:
        return lambda x: swish(x, beta)
    return ACTIVATIONS[name].torch


def gated(
    gate: Tensor, up: Tensor, name: str, beta: float, limit: float, up_offset: float, activation_limit: float = 0.0
) -> Tensor:
    """Return act(gate) · (up + offset), both clamped by the limit first (Shazeer 2020; gpt-oss); 0 disables an option.

    `activation_limit` clamps act(gate) instead of gate (Step 3.5). gate and up: [..., width] → [..., width].
    """
    if limit:
        gate, up = gate.clamp(max=limit), up.clamp(-limit, limit)
    product = activation(name, beta)(gate)
    if activation_limit:
        product, up = product.clamp(max=activation_limit), up.clamp(-activation_limit, activation_limit)
    return product * (up + up_offset if up_offset else up)
