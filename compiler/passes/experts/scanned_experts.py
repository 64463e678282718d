"""Experts for any runtime: a Scan over them, each applied to every token and weighed, by zero where it was not chosen.

Standard operators alone cannot skip work without gathering weights: `k` experts' weights for each token of a long
prompt are more memory than the model. A Scan needs one expert's products at a time, copies no weight, and has as many
nodes for 8 experts as for 256. It is right first; a target that can skip replaces it (`routed_experts`).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from archc.compiler.graph.nodes import Tape, take_over
from archc.compiler.ops.activations import activation_nodes, gated_nodes
from archc.compiler.ops.experts import EXPERTS, inputs_of, replace_experts
from archc.compiler.weights.lazy import StackedWeight, Transposed
from archc.compiler.weights.uses import register

PROJECTIONS = ("gate", "up", "down")


def scan_experts(model: ir.Model) -> int:
    """Replaces every Experts node; returns how many there were."""
    return replace_experts(model, _replace)


def _replace(graph: ir.Graph, node: ir.Node) -> None:
    given = inputs_of(node)
    x, chosen, weights = given["x"], given["chosen"], given["weights"]
    assert x.dtype is not None
    assert given["up"].shape is not None
    experts = int(given["up"].shape[0])
    op = Tape(graph, node.name or EXPERTS)
    numbers = op.constant(np.arange(experts, dtype=np.int64))
    hits = op("Cast", op("Equal", op("Unsqueeze", chosen, op.integers(-1)), numbers), to=x.dtype)
    gates_BSE = op("ReduceSum", op("Mul", op("Unsqueeze", weights, op.integers(-1)), hits), op.integers(2), keepdims=0)
    gates_EBS1 = op("Unsqueeze", op("Transpose", gates_BSE, perm=[2, 0, 1]), op.integers(-1))
    scanned = {"weight": gates_EBS1}
    for name in PROJECTIONS:
        if name in given:
            scanned[name] = _transposed(graph, given[name])
        if f"{name}_bias" in given:
            scanned[f"{name}_bias"] = given[f"{name}_bias"]
    zero = op("Expand", op.constant(np.zeros((), x.dtype.numpy())), op("Shape", x))
    body = _body(graph, node, x, scanned)
    y = op("Scan", zero, *scanned.values(), body=body, num_scan_inputs=len(scanned))
    graph.insert_before(node, op.nodes)
    take_over(node.outputs[0], y)
    graph.remove(node, safe=True)


def _transposed(graph: ir.Graph, value: ir.Value) -> ir.Value:
    """The initializer of stacked weights [E, M, N] as [E, N, M], by which rows are multiplied."""
    assert isinstance(value.const_value, StackedWeight)
    tensor = value.const_value.then(Transposed())
    assert tensor.name is not None
    if tensor.name not in graph.initializers:
        register(graph, tensor)
    return graph.initializers[tensor.name]


def _body(graph: ir.Graph, node: ir.Node, x: ir.Value, scanned: dict[str, ir.Value]) -> ir.Graph:
    """One expert: the sum so far, its weight for each token, its projections → the sum with it."""
    assert x.dtype is not None
    op = Tape(graph, f"{node.name}.expert")
    before = ir.Value(name=f"{op.name}.before", type=x.type, shape=x.shape)
    parts = {
        name: ir.Value(
            name=f"{op.name}.{name}",
            type=x.type,
            shape=ir.Shape(value.shape[1:]) if value.shape is not None else None,
        )
        for name, value in scanned.items()
    }
    outer = expert_nodes(op, node, x, parts, x.dtype)
    # Not the product with zero: what an expert makes of a token that is none of its own need not be finite.
    nothing = op.constant(np.zeros((), x.dtype.numpy()))
    chosen = op("Cast", parts["weight"], to=ir.DataType.BOOL)
    after = op("Add", before, op("Where", chosen, op("Mul", outer, parts["weight"]), nothing))
    after.type, after.shape = x.type, x.shape
    return ir.Graph([before, *parts.values()], [after], nodes=op.nodes, name=op.name)


def expert_nodes(
    op: Tape, node: ir.Node, x: ir.Value, parts: dict[str, ir.Value], dtype: ir.DataType | None
) -> ir.Value:
    """down(act(gate(x)) · up(x)), or down(act(up(x))), as the node describes it."""
    assert dtype is not None
    function = node.attributes["function"].as_string()
    beta, limit, up_offset = (node.attributes[name].as_float() for name in ("beta", "limit", "up_offset"))

    def number(value: float) -> ir.Value:
        return op.constant(np.array(value, dtype=dtype.numpy()))

    def project(rows: ir.Value, name: str) -> ir.Value:
        product = op("MatMul", rows, parts[name])
        return op("Add", product, parts[f"{name}_bias"]) if f"{name}_bias" in parts else product

    inner = project(x, "up")
    if "gate" in parts:
        inner = gated_nodes(op, number, project(x, "gate"), inner, function, beta, limit, up_offset)
    else:
        inner = activation_nodes(op, number, inner, function)
    return project(inner, "down")
