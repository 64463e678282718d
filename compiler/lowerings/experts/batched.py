"""Experts for TensorRT: groups of them as products of stacked matrices, each applied to every token and weighted.

TensorRT unrolls a Scan over experts, copies every expert's slice of the weights in each call and reserves a workspace
for each; and it accepts quantized weights only in front of a DequantizeLinear, so not from a slice. A product of a
stack copies nothing. Its result for each token is as wide as all experts of the stack together, so a stack has no more
experts than fit `_WIDEST`.

Shape suffixes: T tokens, E experts of a stack, M an expert's inner width, N width, A experts a token uses.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.domains import ARCHC
from archc.compiler.graph.values import dtype_of, fixed_size, required
from archc.compiler.lowerings.experts.one_expert import PROJECTIONS, expert_nodes
from archc.compiler.ops.experts import inputs_of
from archc.compiler.weights.lazy import StackedWeight

# Numbers a token: for a call of 512 tokens in float16, 64 MiB.
_WIDEST = 2**16


def batched_experts(node: ir.Node, op: GraphBuilder) -> ir.Value:
    """Lower to one Linear over stacked weights for each projection of each stack."""
    inputs = inputs_of(node)
    x, chosen, weights = inputs["x"], inputs["chosen"], inputs["weights"]
    dtype = dtype_of(x)
    experts, inner, width = (fixed_size(inputs["up"], axis) for axis in range(3))
    x_1TN = op.Reshape(x, op.ints(1, -1, width))
    hits = op.Equal(op.Unsqueeze(chosen, op.ints(-1)), op.ints(*range(experts)))
    gates = op.Mul(op.Unsqueeze(weights, op.ints(-1)), op.Cast(hits, to=dtype))
    gates_TE = op.Reshape(op.ReduceSum(gates, op.ints(2), keepdims=0), op.ints(-1, experts))
    gates_ET1 = op.Unsqueeze(op.Transpose(gates_TE, perm=[1, 0]), op.ints(-1))
    count = stack_size(experts, max(inner, width))
    starts = range(0, experts, count)
    pieces = (
        [gates_ET1] if count == experts else op.Split(gates_ET1, outputs=len(starts), axis=0, num_outputs=len(starts))
    )
    total: ir.Value | None = None
    for start, gate_ET1 in zip(starts, pieces, strict=True):
        expert_ETN = _stack_nodes(op, node, x_1TN, inputs, start, count)
        # Not the product with zero: the output of an expert for a token routed elsewhere need not be finite.
        own = op.Cast(gate_ET1, to=ir.DataType.BOOL)
        weighted_ETN = op.Where(own, op.Mul(expert_ETN, gate_ET1), op.scalar(0.0, dtype))
        sum_TN = op.ReduceSum(weighted_ETN, op.ints(0), keepdims=0)
        total = sum_TN if total is None else op.Add(total, sum_TN)
    y: ir.Value = op.Reshape(total, op.Shape(x))
    return y


def _stack_nodes(
    op: GraphBuilder, node: ir.Node, x_1TN: ir.Value, inputs: Mapping[str, ir.Value], start: int, count: int
) -> ir.Value:
    """Build some experts applied to every token, [E, T, N]."""
    names = [name for projection in PROJECTIONS for name in (projection, f"{projection}_bias") if name in inputs]
    parts = {name: _stack(op, inputs[name], start, count) for name in names}

    def project(rows: ir.Value, name: str) -> ir.Value:
        y: ir.Value = op.Linear(rows, parts[name], parts.get(f"{name}_bias"), domain=ARCHC)
        return y

    return expert_nodes(op, node, x_1TN, parts, project)


def stack_size(experts: int, widest: int) -> int:
    """Return the most experts a stack, of stacks of one size, whose results for a token fit `_WIDEST`."""
    most = max(1, _WIDEST // widest)
    return max(count for count in range(1, experts + 1) if experts % count == 0 and count <= most)


def _stack(op: GraphBuilder, value: ir.Value, start: int, count: int) -> ir.Value:
    """Return the initializer of some experts' matrices [E, M, N], or of their biases [E, 1, M]."""
    whole = required(value).const_value
    assert isinstance(whole, StackedWeight)
    shape = whole.sizes[1:]
    rows = (count, 1, *shape) if len(shape) == 1 else (count, *shape)
    slots = whole.slots[start : start + count]
    return op.initializer(StackedWeight(f"{whole.slot}.{start}", slots, rows, whole.dtype, whole.steps))
