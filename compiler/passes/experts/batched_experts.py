"""Experts for TensorRT: groups of them as products of stacked matrices, each expert applied to every token and weighed.

TensorRT unrolls a Scan over experts, copies every expert's slice of the weights in each call and keeps a workspace for
each; and it takes weights in fewer bits nowhere but before a DequantizeLinear, so not from a slice. A product of a
stack copies nothing. What it makes for each token is as wide as all experts of the stack together, so a stack has no
more experts than fit `_WIDEST`.

Shape suffixes: T tokens, E experts of a stack, M an expert's inner width, N width, A experts a token uses.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from archc.compiler.graph.nodes import Tape, take_over
from archc.compiler.ops.experts import EXPERTS, inputs_of, replace_experts
from archc.compiler.passes.experts.scanned_experts import PROJECTIONS, expert_nodes
from archc.compiler.weights.lazy import StackedWeight, Transposed, WeightTensor
from archc.compiler.weights.uses import register

# Numbers a token: of a call of 512 tokens in float16, 64 MiB.
_WIDEST = 2**16


def batch_experts(model: ir.Model) -> int:
    """Replaces every Experts node; returns how many there were."""
    return replace_experts(model, _replace)


def _replace(graph: ir.Graph, node: ir.Node) -> None:
    given = inputs_of(node)
    x, chosen, weights = given["x"], given["chosen"], given["weights"]
    assert x.dtype is not None
    assert x.shape is not None
    experts, inner, width = _sizes(given["up"])
    op = Tape(graph, node.name or EXPERTS)
    x_1TN = op("Reshape", x, op.integers(1, -1, width))
    hits = op("Equal", op("Unsqueeze", chosen, op.integers(-1)), op.integers(*range(experts)))
    gates = op("Mul", op("Unsqueeze", weights, op.integers(-1)), op("Cast", hits, to=x.dtype))
    gates_TE = op("Reshape", op("ReduceSum", gates, op.integers(2), keepdims=0), op.integers(-1, experts))
    gates_ET1 = op("Unsqueeze", op("Transpose", gates_TE, perm=[1, 0]), op.integers(-1))
    count = stack_size(experts, max(inner, width))
    starts = range(0, experts, count)
    pieces = (
        [gates_ET1]
        if count == experts
        else op("Split", gates_ET1, outputs=len(starts), axis=0, num_outputs=len(starts))
    )
    zero = op.constant(np.zeros((), x.dtype.numpy()))
    total = None
    for start, gate_ET1 in zip(starts, pieces, strict=True):
        parts = {
            name: _stack(graph, given[name], start, count)
            for projection in PROJECTIONS
            for name in (projection, f"{projection}_bias")
            if name in given
        }
        outer_ETN = expert_nodes(op, node, x_1TN, parts, x.dtype)
        # Not the product with zero: what an expert makes of a token that is none of its own need not be finite.
        own = op("Cast", gate_ET1, to=ir.DataType.BOOL)
        weighed_ETN = op("Where", own, op("Mul", outer_ETN, gate_ET1), zero)
        sum_TN = op("ReduceSum", weighed_ETN, op.integers(0), keepdims=0)
        total = sum_TN if total is None else op("Add", total, sum_TN)
    y = op("Reshape", total, op("Shape", x))
    graph.insert_before(node, op.nodes)
    take_over(node.outputs[0], y)
    graph.remove(node, safe=True)


def stack_size(experts: int, widest: int) -> int:
    """The most experts a stack, of stacks of one size, whose results of a token are no more than `_WIDEST` numbers."""
    most = max(1, _WIDEST // widest)
    return max(count for count in range(1, experts + 1) if experts % count == 0 and count <= most)


def _sizes(up: ir.Value) -> tuple[int, int, int]:
    """Experts, inner width and width, of the up projection's shape [E, M, N]."""
    assert up.shape is not None
    experts, inner, width = (int(size) for size in up.shape)
    return experts, inner, width


def _stack(graph: ir.Graph, value: ir.Value, start: int, count: int) -> ir.Value:
    """The initializer of some experts' matrices [E, N, M], to multiply rows by, or of their biases [E, 1, M]."""
    whole = value.const_value
    assert isinstance(whole, StackedWeight)
    slots = whole.slots[start : start + count]
    name = f"{whole.slot}.{start}"
    shape = tuple(int(size) for size in whole.shape)[1:]
    tensor: WeightTensor
    if len(shape) == 1:
        tensor = StackedWeight(name, slots, (count, 1, *shape), whole.dtype, whole.steps)
    else:
        tensor = StackedWeight(name, slots, (count, *shape), whole.dtype, whole.steps).then(Transposed())
    return register(graph, tensor)
