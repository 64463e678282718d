"""Experts for any runtime: a Scan over them, each applied to every token and weighted, by zero if it was not chosen.

Standard operators alone cannot skip work without gathering weights: `k` experts' weights for each token of a long
prompt are more memory than the model. A Scan needs one expert's products at a time, copies no weight, and has as many
nodes for 8 experts as for 256. It is right first; a target that can skip has another lowering (`routed`).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.domains import OPSET
from archc.compiler.graph.values import dtype_of, fixed_size, shape_of
from archc.compiler.lowerings.experts.one_expert import PROJECTIONS, expert_nodes
from archc.compiler.lowerings.linear.portable import transposed, with_bias
from archc.compiler.ops.experts import inputs_of


def scanned_experts(node: ir.Node, op: GraphBuilder) -> ir.Value:
    """Lower to a Scan over stacked weights; its body captures nothing."""
    inputs = inputs_of(node)
    x, chosen, weights = inputs["x"], inputs["chosen"], inputs["weights"]
    dtype, experts = dtype_of(x), fixed_size(inputs["up"], 0)
    numbers = op.constant(np.arange(experts, dtype=np.int64))
    hits = op.Cast(op.Equal(op.Unsqueeze(chosen, op.ints(-1)), numbers), to=dtype)
    gates_BSE = op.ReduceSum(op.Mul(op.Unsqueeze(weights, op.ints(-1)), hits), op.ints(2), keepdims=0)
    gates_EBS1 = op.Unsqueeze(op.Transpose(gates_BSE, perm=[2, 0, 1]), op.ints(-1))
    scanned = {"weight": gates_EBS1}
    for name in PROJECTIONS:
        if name in inputs:
            scanned[name] = transposed(op, inputs[name])
        if f"{name}_bias" in inputs:
            scanned[f"{name}_bias"] = inputs[f"{name}_bias"]
    zero = op.Expand(op.scalar(0.0, dtype), op.Shape(x))
    body = _body(op, node, x, scanned)
    # Rows are a state that stays as it is, because every expert reads them.
    y, _ = op.Scan(zero, x, *scanned.values(), body=body, num_scan_inputs=len(scanned), outputs=2)
    result: ir.Value = y
    return result


def _body(outer: GraphBuilder, node: ir.Node, x: ir.Value, scanned: dict[str, ir.Value]) -> ir.Graph:
    """Build one expert: the sum so far, the tokens, their weights, the projections → the sum with it, the tokens."""
    op = GraphBuilder(outer.graph, f"{outer.name}.expert", closed=True)
    before, rows = (ir.Value(name=f"{op.name}.{name}", type=x.type, shape=x.shape) for name in ("before", "rows"))
    parts = {
        name: ir.Value(
            name=f"{op.name}.{name}",
            type=x.type,
            shape=ir.Shape(shape_of(value)[1:]) if value.shape is not None else None,
        )
        for name, value in scanned.items()
    }

    def project(value: ir.Value, name: str) -> ir.Value:
        return with_bias(op, op.MatMul(value, parts[name]), parts.get(f"{name}_bias"))

    expert = expert_nodes(op, node, rows, parts, project)
    # Not the product with zero: the output of an expert for a token routed elsewhere need not be finite.
    chosen = op.Cast(parts["weight"], to=ir.DataType.BOOL)
    weighted = op.Where(chosen, op.Mul(expert, parts["weight"]), op.scalar(0.0, dtype_of(x)))
    after, same = op.Add(before, weighted), op.Identity(rows)
    for value in (after, same):
        value.type, value.shape = x.type, x.shape
    return ir.Graph(
        [before, rows, *parts.values()], [after, same], nodes=op.nodes, opset_imports={"": OPSET}, name=op.name
    )
