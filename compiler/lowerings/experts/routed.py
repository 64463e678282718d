"""Experts on ONNX Runtime's CPU provider: a token pays for the experts it is routed to and for no others.

Each token's row is copied once for each of its experts, rows of one expert next to each other, and split into a piece
for each expert. The piece of an expert without tokens has no rows, and the provider's kernels return from it at once,
without reading a weight. Nothing is gathered but activations, weights are plain matrices, and there is no subgraph; an
`If` around each expert is no faster.

Shape suffixes: T tokens, A experts a token uses, E experts, N width; R = T · A rows in the order of their experts.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from archc.compiler.graph.axes import EXPERT_ROWS
from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.domains import ARCHC
from archc.compiler.graph.values import fixed_size, required
from archc.compiler.lowerings.experts.one_expert import PROJECTIONS, expert_nodes
from archc.compiler.ops.experts import inputs_of
from archc.compiler.weights.lazy import StackedWeight


def routed_experts(node: ir.Node, op: GraphBuilder) -> ir.Value:
    """Lower to one Linear for each projection of each expert, over that expert's tokens."""
    inputs = inputs_of(node)
    x, chosen, weights = inputs["x"], inputs["chosen"], inputs["weights"]
    width, used = fixed_size(x, 2), fixed_size(chosen, 2)
    experts = [_expert(op, inputs, expert) for expert in range(fixed_size(inputs["up"], 0))]
    x_TN = op.Reshape(x, op.ints(-1, width))
    chosen_TA = op.Reshape(chosen, op.ints(-1, used))
    hits = op.Equal(op.Unsqueeze(chosen_TA, op.ints(-1)), op.ints(*range(len(experts))))
    # A token has one row of an expert that it names twice, as placeholders of experts without weights do.
    chosen_TE = op.ReduceMax(op.Cast(hits, to=ir.DataType.INT64), op.ints(1), keepdims=0)
    counts_E = op.ReduceSum(chosen_TE, op.ints(0), keepdims=0)
    places_TA = _places(op, chosen_TE, chosen_TA, counts_E)

    # NonZero goes through experts in order, and through the tokens of each.
    token_R = op.Gather(op.NonZero(op.Transpose(chosen_TE, perm=[1, 0])), op.scalar(1), axis=0)
    x_RN = op.Gather(x_TN, token_R, axis=0)
    pieces = op.Split(x_RN, counts_E, axis=0, outputs=len(experts)) if len(experts) > 1 else [x_RN]
    outer = []
    for piece, parts in zip(pieces, experts, strict=True):
        _describe_rows(piece, x, width)
        outer.append(expert_nodes(op, node, piece, parts, _Projections(op, parts, x)))
    y_RN = op.Concat(*outer, axis=0)

    y_TAN = op.Gather(y_RN, places_TA, axis=0)
    weights_T1A = op.Reshape(weights, op.ints(-1, 1, used))
    y: ir.Value = op.Reshape(op.MatMul(weights_T1A, y_TAN), op.Shape(x), allowzero=1)
    return y


class _Projections:
    """Applies the projections of one expert as `archc.Linear` nodes, which the target's own lowering replaces."""

    def __init__(self, op: GraphBuilder, parts: Mapping[str, ir.Value], x: ir.Value) -> None:
        self.op, self.parts, self.x = op, parts, x

    def __call__(self, rows: ir.Value, name: str) -> ir.Value:
        """Return the projection of rows [R, N]."""
        weight = self.parts[name]
        # An activation between two projections has the rows of the first.
        _describe_rows(rows, self.x, fixed_size(weight, 1))
        y: ir.Value = self.op.Linear(rows, weight, self.parts.get(f"{name}_bias"), domain=ARCHC)
        _describe_rows(y, self.x, fixed_size(weight, 0))
        return y


def _describe_rows(rows: ir.Value, like: ir.Value, width: int) -> None:
    """Write the type and shape of an expert's rows."""
    rows.type, rows.shape = like.type, ir.Shape([EXPERT_ROWS, width])


def _places(op: GraphBuilder, chosen_TE: ir.Value, chosen_TA: ir.Value, counts_E: ir.Value) -> ir.Value:
    """Return where each token's row of each of its experts is among all rows, int64 [T, A]."""
    before_TE = op.CumSum(chosen_TE, op.scalar(0), exclusive=1)  # rows of the expert for earlier tokens
    start_E = op.CumSum(counts_E, op.scalar(0), exclusive=1)
    places: ir.Value = op.GatherElements(op.Add(before_TE, start_E), chosen_TA, axis=1)
    return places


def _expert(op: GraphBuilder, inputs: Mapping[str, ir.Value], expert: int) -> dict[str, ir.Value]:
    """Return one expert's matrices [M, N] and biases [M]."""
    names = [name for projection in PROJECTIONS for name in (projection, f"{projection}_bias") if name in inputs]
    parts = {}
    for name in names:
        stacked = required(inputs[name]).const_value
        assert isinstance(stacked, StackedWeight)
        parts[name] = op.initializer(stacked.in_parts()[expert])
    return parts
