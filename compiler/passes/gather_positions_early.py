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
from archc.compiler.graph.rows import without_rows, works_by_row
from archc.compiler.graph.values import required, shape_of


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
    constant = without_rows(graph)
    later: list[ir.Node] = []
    needed = {take.inputs[0]}
    for node in reversed(list(graph)):
        readers = {use.node for output in node.outputs for use in output.uses()}
        read_elsewhere = any(output.is_graph_output() for output in node.outputs) or not readers <= {take, *later}
        if needed.isdisjoint(node.outputs) or read_elsewhere or not works_by_row(node, constant):
            continue
        later.append(node)
        needed.update(value for value in node.inputs if value not in constant)
    return later


def _move(graph: ir.Graph, take: ir.Node, later: list[ir.Node]) -> None:
    data, positions = map(required, take.inputs)
    constant = without_rows(graph)
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
