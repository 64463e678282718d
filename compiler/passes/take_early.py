"""Computes the end of the last layer only where logits are asked for.

A prompt asks for its last position's logits, and what follows the last layer's attention works on each position alone:
the output projection, the MLP and the norms. So positions are chosen before them, and not just before the head.
"""

from __future__ import annotations

import onnx_ir as ir

from archc.compiler.graph.nodes import Tape
from archc.compiler.ops.experts import PERHAPS_EMPTY

_ASKED = "logit_positions"
_ELEMENTWISE = frozenset({
    "Abs", "Add", "Cast", "Clip", "Div", "Erf", "Exp", "Gelu", "Identity", "Max", "Min", "Mul", "Neg", "Pow", "Relu",
    "Sigmoid", "Softplus", "Sqrt", "Sub", "Tanh", "Where",
})  # fmt: skip
_NORMS = ("RMSNormalization", "LayerNormalization")


def take_early(model: ir.Model) -> int:
    """Moves the choice of positions up to what mixes them; returns how many nodes then see fewer rows."""
    graph = model.graph
    take = next((node for node in graph if _is_take(node)), None)
    if take is None:
        return 0
    free = _without_rows(graph)
    later: list[ir.Node] = []
    wanted = {take.inputs[0]}
    for node in reversed(list(graph)):
        readers = {use.node for output in node.outputs for use in output.uses()}
        seen_elsewhere = any(output in graph.outputs for output in node.outputs) or not readers <= {take, *later}
        if wanted.isdisjoint(node.outputs) or seen_elsewhere or not _works_by_row(node, free):
            continue
        later.append(node)
        wanted.update(value for value in node.inputs if value not in free)
    _mark(take)
    if later:
        _move(graph, take, later, free)
    return len(later)


def _mark(take: ir.Node) -> None:
    """Notes on all that follows that a call may ask for no position at all."""
    reached = [take]
    while reached:
        for node in reached.pop().successors():
            if PERHAPS_EMPTY not in node.metadata_props:
                node.metadata_props[PERHAPS_EMPTY] = "1"
                reached.append(node)


def _is_take(node: ir.Node) -> bool:
    if node.op_type != "GatherND" or node.inputs[1] is None:
        return False
    maker = node.inputs[1].producer()
    asked = maker.inputs[0] if maker is not None and maker.op_type == "Unsqueeze" else None
    return asked is not None and asked.name == _ASKED


def _without_rows(graph: ir.Graph) -> set[ir.Value | None]:
    """What is the same for every position: weights, constants, and what is made of them alone."""
    free: set[ir.Value | None] = {None, *graph.initializers.values()}
    for node in graph:
        if free.issuperset(node.inputs):
            free.update(node.outputs)
    return free


def _works_by_row(node: ir.Node, free: set[ir.Value | None]) -> bool:
    """Whether each row of its result [B, S, N] comes from that row of what it reads."""
    rows = [value for value in node.inputs if value not in free]
    if not all(value is not None and value.shape is not None and len(value.shape) == 3 for value in rows):
        return False
    if node.op_type in _ELEMENTWISE:
        return True
    if len(rows) != 1 or rows[0] is not node.inputs[0]:
        return False
    if node.op_type == "MatMul":
        weight = node.inputs[1]
        return weight is not None and weight.shape is not None and len(weight.shape) == 2
    return node.op_type in _NORMS and node.attributes.get_int("axis", -1) == -1


def _move(graph: ir.Graph, take: ir.Node, later: list[ir.Node], free: set[ir.Value | None]) -> None:
    data, indices = take.inputs[:2]
    assert data is not None
    assert indices is not None
    places = indices.producer()
    assert places is not None
    graph.remove(places)
    graph.insert_before(graph[0], places)
    taken: dict[ir.Value, ir.Value] = {}
    for node in later:
        for index, value in enumerate(node.inputs):
            if value is not None and value not in free and value.producer() not in later:
                if value not in taken:
                    taken[value] = _take(graph, value, indices, places)
                node.replace_input_with(index, taken[value])
        node.metadata_props[PERHAPS_EMPTY] = "1"
        for output in node.outputs:
            if output.shape is not None:
                output.shape = ir.Shape([output.shape[0], None, *output.shape[2:]])
    ir.convenience.replace_all_uses_with(take.outputs[0], data)
    graph.remove(take, safe=True)


def _take(graph: ir.Graph, value: ir.Value, indices: ir.Value, places: ir.Node) -> ir.Value:
    op = Tape(graph, f"{value.name}.asked")
    rows = op("GatherND", value, indices, batch_dims=1)
    assert value.shape is not None
    rows.type, rows.shape = value.type, ir.Shape([value.shape[0], None, value.shape[2]])
    graph.insert_after(value.producer() or places, op.nodes)
    result: ir.Value = rows
    return result
