"""Routed experts of a mixture as one operator, which stays one node `archc.Experts` until a target's lowering.

No standard operator computes them, and the best form differs between runtimes (`archc.compiler.lowerings.experts`).

Shape suffixes as in `archc.compiler.ops.operators`, and: E experts, A experts a token uses.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor
from torch.library import custom_op

from archc.compiler.graph.builder import op
from archc.compiler.graph.domains import ARCHC
from archc.compiler.ops.activations import activation, gated
from archc.compiler.ops.registry import translates

# Inputs of the node, in order; absent ones are empty.
INPUTS = ("x", "chosen", "weights", "up", "down", "gate", "up_bias", "down_bias", "gate_bias")


@custom_op("archc::experts", mutates_args=())
def experts(
    x_BSN: Tensor,
    chosen_BSA: Tensor,
    weights_BSA: Tensor,
    up_EMN: Tensor,
    down_ENM: Tensor,
    gate_EMN: Tensor | None,
    up_bias_EM: Tensor | None,
    down_bias_EN: Tensor | None,
    gate_bias_EM: Tensor | None,
    function: str,
    beta: float,
    limit: float,
    up_offset: float,
    activation_limit: float = 0.0,
) -> Tensor:
    """Σ weight · down(act(gate(x)) · up(x)) over the experts that each token has chosen → [B, S, N].

    Without a gate an expert is down(act(up(x))). `function`, `beta`, `limit`, `up_offset` and `activation_limit` are
    those of `archc.compiler.ops.activations`. Only the rows that chose an expert pass through it.
    """
    y_BSN = torch.zeros_like(x_BSN)
    for expert in chosen_BSA.unique().tolist():
        places = (chosen_BSA == expert).nonzero(as_tuple=True)
        rows = x_BSN[places[:2]]
        inner = _projected(rows, up_EMN, up_bias_EM, expert)
        if gate_EMN is None:
            inner = activation(function)(inner)
        else:
            gate = _projected(rows, gate_EMN, gate_bias_EM, expert)
            inner = gated(gate, inner, function, beta, limit, up_offset, activation_limit)
        outer = _projected(inner, down_ENM, down_bias_EN, expert) * weights_BSA[places][:, None]
        y_BSN.index_put_(places[:2], outer, accumulate=True)
    return y_BSN


def _projected(x: Tensor, weight_EMN: Tensor, bias_EM: Tensor | None, expert: int) -> Tensor:
    return torch.nn.functional.linear(x, weight_EMN[expert], None if bias_EM is None else bias_EM[expert])


@experts.register_fake
def _(x_BSN: Tensor, *_: object) -> Tensor:
    return torch.empty_like(x_BSN)


@translates(torch.ops.archc.experts.default)
def _experts(
    x: Any,
    chosen: Any,
    weights: Any,
    up: Any,
    down: Any,
    gate: Any = None,
    up_bias: Any = None,
    down_bias: Any = None,
    gate_bias: Any = None,
    function: str = "silu",
    beta: float = 0.0,
    limit: float = 0.0,
    up_offset: float = 0.0,
    activation_limit: float = 0.0,
) -> Any:
    inputs = (x, chosen, weights, up, down, gate, up_bias, down_bias, gate_bias)
    options = {"beta": beta, "limit": limit, "up_offset": up_offset, "activation_limit": activation_limit}
    return op.Experts(*inputs, function=function, **options, domain=ARCHC)


def inputs_of(node: ir.Node) -> dict[str, ir.Value]:
    """Return the inputs that an Experts node has, by the names of `INPUTS`."""
    return {name: value for name, value in zip(INPUTS, node.inputs, strict=False) if value is not None}
