"""One expert's projections and activation."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx_ir as ir

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.values import dtype_of
from archc.compiler.lowerings.activations import activation_nodes, gated_nodes

PROJECTIONS = ("gate", "up", "down")

Project = Callable[[ir.Value, str], ir.Value]
"""Applies one of `PROJECTIONS`, with its bias, to rows."""


def expert_nodes(
    op: GraphBuilder, node: ir.Node, x: ir.Value, parts: Mapping[str, ir.Value], project: Project
) -> ir.Value:
    """Build down(act(gate(x)) · up(x)), or down(act(up(x))), with the attributes of an Experts node."""
    function = node.attributes["function"].as_string()
    beta, limit, up_offset = (node.attributes[name].as_float() for name in ("beta", "limit", "up_offset"))
    activation_limit = node.attributes.get_float("activation_limit", 0.0)
    inner = project(x, "up")
    dtype = dtype_of(parts["up"])
    if "gate" in parts:
        inner = gated_nodes(op, project(x, "gate"), inner, function, beta, limit, up_offset, dtype, activation_limit)
    else:
        inner = activation_nodes(op, inner, function, dtype)
    return project(inner, "down")
