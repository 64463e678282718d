"""The end of the last layer computed only for positions whose logits are needed.

A prompt needs the logits of its last position, and all that follows the last layer's attention works on each position
alone: the output projection, the MLP and the norms. So positions are gathered before them, not just before the head.
"""

from __future__ import annotations

import onnx_ir as ir

from archc.compiler.contract.ports import port
from archc.compiler.graph.axes import ASKED
from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.domains import ARCHC
from archc.compiler.graph.values import required, shape_of

_ELEMENTWISE = frozenset({
    "Abs", "Add", "Cast", "Clip", "Div", "Erf", "Exp", "Gelu", "Identity", "Max", "Min", "Mul", "Neg", "Pow",
    "Relu", "Sigmoid", "Softplus", "Sqrt", "Sub", "Swish", "Tanh", "Where",
})  # fmt: skip
_BY_ROW = ("Linear", "Norm")


class GatherPositionsEarly(ir.passes.InPlacePass):
    """Moves `archc.TakePositions` up to the node that mixes positions."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Move the node, with the axis named `asked` on all that follows it."""
        graph = model.graph
        take = next((node for node in graph if _takes_asked_positions(node)), None)
        moved = _later(graph, take) if take is not None else []
        if take is not None and moved:
            _move(graph, take, moved)
        return ir.passes.PassResult(model, modified=bool(moved))


def _takes_asked_positions(node: ir.Node) -> bool:
    """Return whether a node gathers the positions whose logits are needed."""
    if (node.domain, node.op_type) != (ARCHC, "TakePositions"):
        return False
    return port(required(node.inputs[1])).get("role") == "logit_positions"


def _later(graph: ir.Graph, take: ir.Node) -> list[ir.Node]:
    """Return the nodes in front of the gather that work on each row alone and that nothing else reads, last first."""
    constant = _without_rows(graph)
    later: list[ir.Node] = []
    needed = {take.inputs[0]}
    for node in reversed(list(graph)):
        readers = {use.node for output in node.outputs for use in output.uses()}
        read_elsewhere = any(output.is_graph_output() for output in node.outputs) or not readers <= {take, *later}
        if needed.isdisjoint(node.outputs) or read_elsewhere or not _works_by_row(node, constant):
            continue
        later.append(node)
        needed.update(value for value in node.inputs if value not in constant)
    return later


def _without_rows(graph: ir.Graph) -> set[ir.Value | None]:
    """Return the values that are the same for every position: weights, constants, and values computed from them."""
    constant: set[ir.Value | None] = {None, *graph.initializers.values()}
    for node in graph:
        if constant.issuperset(node.inputs):
            constant.update(node.outputs)
    return constant


def _works_by_row(node: ir.Node, constant: set[ir.Value | None]) -> bool:
    """Return whether each row of a node's result [B, S, N] depends on that row of its inputs only."""
    rows = [value for value in node.inputs if value not in constant]
    if not all(value is not None and _has_rows(value) for value in rows):
        return False
    if not node.domain and node.op_type in _ELEMENTWISE:
        return True
    return node.domain == ARCHC and node.op_type in _BY_ROW and rows == [node.inputs[0]]


def _has_rows(value: ir.Value) -> bool:
    """Return whether a value is [B, S, N]; an axis B or S of a fixed size is broadcast."""
    return value.shape is not None and len(value.shape) == 3 and not any(isinstance(n, int) for n in value.shape[:2])


def _move(graph: ir.Graph, take: ir.Node, later: list[ir.Node]) -> None:
    data, positions = map(required, take.inputs)
    constant = _without_rows(graph)
    gathered: dict[ir.Value, ir.Value] = {}
    for node in later:
        for index, value in enumerate(node.inputs):
            if value is not None and value not in constant and value.producer() not in later:
                if value not in gathered:
                    gathered[value] = _take(graph, value, positions)
                node.replace_input_with(index, gathered[value])
        for output in node.outputs:
            output.shape = _asked(output)
    ir.convenience.replace_all_uses_with(take.outputs[0], data)
    graph.remove(take, safe=True)


def _take(graph: ir.Graph, value: ir.Value, positions: ir.Value) -> ir.Value:
    op = GraphBuilder(graph, f"{value.name}.asked")
    rows: ir.Value = op.TakePositions(value, positions, domain=ARCHC)
    rows.type, rows.shape = value.type, _asked(value)
    maker = value.producer()
    if maker is None:
        graph.insert_before(graph[0], op.nodes)
    else:
        graph.insert_after(maker, op.nodes)
    return rows


def _asked(value: ir.Value) -> ir.Shape:
    """Return the shape of a value [B, S, N] at the positions whose logits are needed."""
    batch, _, width = shape_of(value)
    return ir.Shape([batch, ASKED, width])
