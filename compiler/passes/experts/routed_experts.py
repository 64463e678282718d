"""Experts on ONNX Runtime's CPU provider: a token pays for the experts that it uses and for no others.

Each token's row is laid out once for each of its experts, rows of one expert side by side, and cut into a piece for
each expert. The piece of an expert that nobody chose has no rows, and the provider's kernels return from it at once,
without reading a weight. Nothing is gathered but activations, weights are plain matrices, and there is no subgraph; an
`If` around each expert is no faster.

Shape suffixes: T tokens, A experts a token uses, E experts, N width; R = T · A rows in the order of their experts.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from archc.compiler.graph.nodes import Tape, take_over
from archc.compiler.ops.experts import EXPERTS, PERHAPS_EMPTY, inputs_of, replace_experts
from archc.compiler.passes.experts.scanned_experts import PROJECTIONS, expert_nodes
from archc.compiler.weights.lazy import StackedWeight, Transposed, WeightTensor
from archc.compiler.weights.uses import register


def route_experts(model: ir.Model) -> int:
    """Replaces every Experts node; returns how many there were."""
    return replace_experts(model, _replace)


def _replace(graph: ir.Graph, node: ir.Node) -> None:
    given = inputs_of(node)
    x, chosen, weights = given["x"], given["chosen"], given["weights"]
    assert x.shape is not None
    width = x.shape[2]
    assert isinstance(width, int)
    experts = [_weights(graph, given, expert) for expert in range(_count(given["up"]))]
    op = Tape(graph, node.name or EXPERTS)
    x_TN = op("Reshape", x, op.integers(-1, width))
    chosen_TA = op("Reshape", chosen, op.integers(-1, _last(chosen)))
    hits = op("Equal", op("Unsqueeze", chosen_TA, op.integers(-1)), op.integers(*range(len(experts))))
    chosen_TE = op("ReduceSum", op("Cast", hits, to=ir.DataType.INT64), op.integers(1), keepdims=0)
    counts_E = op("ReduceSum", chosen_TE, op.integers(0), keepdims=0)
    places_TA = _places(op, chosen_TE, chosen_TA, counts_E)

    # NonZero goes through experts in order, and through the tokens of each.
    token_R = op("Gather", op("NonZero", op("Transpose", chosen_TE, perm=[1, 0])), op.constant(np.array(1)), axis=0)
    x_RN = op("Gather", x_TN, token_R, axis=0)
    pieces = op("Split", x_RN, counts_E, axis=0, outputs=len(experts)) if len(experts) > 1 else [x_RN]
    first = len(op.nodes)
    made = [expert_nodes(op, node, piece, parts, x.dtype) for piece, parts in zip(pieces, experts, strict=True)]
    for expert_node in op.nodes[first:]:
        expert_node.metadata_props[PERHAPS_EMPTY] = "1"
        if expert_node.op_type == "MatMul":
            rows, matrix = expert_node.inputs
            assert rows is not None
            assert matrix is not None
            assert matrix.shape is not None
            rows.shape, rows.type = ir.Shape([None, matrix.shape[0]]), x.type
    y_RN = op("Concat", *made, axis=0)

    y_TAN = op("Gather", y_RN, places_TA, axis=0)
    weights_T1A = op("Reshape", weights, op.integers(-1, 1, _last(chosen)))
    y = op("Reshape", op("MatMul", weights_T1A, y_TAN), op("Shape", x))
    graph.insert_before(node, op.nodes)
    take_over(node.outputs[0], y)
    graph.remove(node, safe=True)


def _places(op: Tape, chosen_TE: ir.Value, chosen_TA: ir.Value, counts_E: ir.Value) -> ir.Value:
    """Where each token's row of each of its experts lies among all rows, int64 [T, A]."""
    first = op.constant(np.array(0))
    before_TE = op("CumSum", chosen_TE, first, exclusive=1)  # rows of the expert for earlier tokens
    start_E = op("CumSum", counts_E, first, exclusive=1)
    return op("GatherElements", op("Add", before_TE, start_E), chosen_TA, axis=1)


def _weights(graph: ir.Graph, given: dict[str, ir.Value], expert: int) -> dict[str, ir.Value]:
    """One expert's matrices, transposed to multiply rows, and biases."""
    parts = {}
    for name in PROJECTIONS:
        if name in given:
            parts[name] = register(graph, _part(given[name], expert).then(Transposed()))
        if f"{name}_bias" in given:
            parts[f"{name}_bias"] = register(graph, _part(given[f"{name}_bias"], expert))
    return parts


def _part(stacked: ir.Value, expert: int) -> WeightTensor:
    assert isinstance(stacked.const_value, StackedWeight)
    return stacked.const_value.in_parts()[expert]


def _count(stacked: ir.Value) -> int:
    assert stacked.shape is not None
    return int(stacked.shape[0])


def _last(value: ir.Value) -> int:
    assert value.shape is not None
    size = value.shape[-1]
    assert isinstance(size, int)
    return size
