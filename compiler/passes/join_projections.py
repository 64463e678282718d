"""Projections of one activation into heads (queries, keys and values) as one product.

A decoding step reads little for each, so that the cost of starting a kernel and its threads counts. The rows of
matrices are stored one after another, and so are those of several matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.domains import ARCHC
from archc.compiler.graph.values import (
    drop_unused_initializers,
    dtype_of,
    fixed_size,
    only_reader,
    replace_value,
    required,
)
from archc.compiler.weights.lazy import JoinedRows, WeightTensor


@dataclass(frozen=True)
class _Projection:
    """A Linear, and the SplitHeads that alone reads it."""

    linear: ir.Node
    split: ir.Node

    @property
    def heads(self) -> int:
        return self.split.attributes["heads"].as_int()

    @property
    def weights(self) -> list[ir.Value]:
        return [value for value in self.linear.inputs[1:] if value is not None]

    @property
    def group(self) -> tuple[object, ...]:
        """The key of products that can be joined: activation, bias, head width, input width, dtype."""
        weight = required(self.linear.inputs[1])
        return (
            self.linear.inputs[0],
            len(self.weights),
            fixed_size(weight, 0) // self.heads,
            fixed_size(weight, 1),
            dtype_of(weight),
        )


class JoinProjections(ir.passes.InPlacePass):
    """Joins every Linear of one activation whose result is split into heads of one width."""

    def __init__(self, dtypes: frozenset[ir.DataType] = frozenset({ir.DataType.FLOAT})) -> None:
        super().__init__()
        self.dtypes = dtypes

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Join, if nothing else reads the weights: they would be stored twice."""
        graph = model.graph
        groups: dict[tuple[object, ...], list[_Projection]] = {}
        for node in graph:
            projection = _projection(node, self.dtypes)
            if projection is not None:
                groups.setdefault(projection.group, []).append(projection)
        joined = [group for group in groups.values() if len(group) > 1]
        readers: dict[tuple[ir.Value, ...], set[ir.Node]] = {}
        for group in joined:
            readers.setdefault(_weights(group), set()).update(projection.linear for projection in group)
        joined = [group for group in joined if set().union(*map(_readers, group)) <= readers[_weights(group)]]
        for group in joined:
            _join(graph, group)
        if joined:
            drop_unused_initializers(graph)
        return ir.passes.PassResult(model, modified=bool(joined))


def _projection(node: ir.Node, dtypes: frozenset[ir.DataType]) -> _Projection | None:
    if (node.domain, node.op_type) != (ARCHC, "Linear"):
        return None
    split = only_reader(node.outputs[0])
    if split is None or (split.domain, split.op_type) != (ARCHC, "SplitHeads"):
        return None
    weights = [value.const_value for value in node.inputs[1:] if value is not None]
    plain = all(isinstance(weight, WeightTensor) and not weight.steps for weight in weights)
    return _Projection(node, split) if plain and required(node.inputs[1]).dtype in dtypes else None


def _weights(group: Sequence[_Projection]) -> tuple[ir.Value, ...]:
    """Return the weights of a group; groups with the same ones share the joined matrix."""
    return tuple(weight for projection in group for weight in projection.weights)


def _readers(projection: _Projection) -> set[ir.Node]:
    return {use.node for value in projection.weights for use in value.uses()}


def _join(graph: ir.Graph, group: Sequence[_Projection]) -> None:
    first = group[0].linear
    op = GraphBuilder(graph, f"{first.name}.joined")
    weights = [
        op.initializer(JoinedRows([_tensor(value) for value in values]))
        for values in zip(*(projection.weights for projection in group), strict=True)
    ]
    heads = [projection.heads for projection in group]
    x = required(first.inputs[0])
    rows = op.Linear(x, *weights, domain=ARCHC)
    assert x.shape is not None
    rows.type, rows.shape = x.type, ir.Shape([*x.shape[:-1], fixed_size(weights[0], 0)])
    split = op.SplitHeads(rows, heads=sum(heads), domain=ARCHC)
    parts = op.Split(split, op.ints(*heads), outputs=len(heads), axis=1)
    split.type, split.shape = x.type, None
    graph.insert_before(first, op.nodes)
    for projection, part in zip(group, parts, strict=True):
        replace_value(projection.split.outputs[0], part)
        graph.remove([projection.split, projection.linear], safe=True)


def _tensor(value: ir.Value) -> WeightTensor:
    assert isinstance(value.const_value, WeightTensor)
    return value.const_value
