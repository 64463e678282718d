"""States of fixed size that a runtime may write over the memory that they are read from.

onnxruntime-genai gives the new state of a recurrence the buffer of the old one. That is sound if every node that reads
the old state has run before the one that writes the new state; the edges of the graph alone order nodes. In a Scan the
same holds in its body, because the last step writes the new state in place, and may be the first step as well.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from archc.compiler.contract.ports import port, state_kind
from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.values import subgraphs, typed_like

_VIEWS = ("Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")


class ReadBeforeWrite(ir.passes.InPlacePass):
    """Copies old states that may be read after the new one is written."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Insert the copies."""
        graph, modified = model.graph, False
        outputs = {value.name: value for value in graph.outputs}
        for old in graph.inputs:
            if state_kind(old) != "fixed" or not old.uses():
                continue
            new = outputs[port(old)["output"]]
            if not reads_come_first(old, new):
                _copy(graph, old)
                modified = True
        return ir.passes.PassResult(model, modified=modified)


def reads_come_first(old: ir.Value, new: ir.Value) -> bool:
    """Return whether the edges of the graph order all reads of a value before another one is written."""
    writer = new.producer()
    if writer is None or writer.graph is None:
        return False
    before = _ancestors(writer)
    return all(node in before or _is_ordered_scan(node, value, new) for node, value in _readers(writer.graph, old))


def _readers(nodes: Iterable[ir.Node], old: ir.Value) -> list[tuple[ir.Node, ir.Value]]:
    """Return the nodes that read a value, or a view of its memory, and the value that each of them reads."""
    views, readers = [old], []
    for node in nodes:  # in the order of a graph, a view comes before its readers
        for value in {id(value): value for value in _reads(node)}.values():
            if any(value is view for view in views):
                readers.append((node, value))
                if node.op_type in _VIEWS:
                    views.append(node.outputs[0])
    return readers


def _is_ordered_scan(node: ir.Node, old: ir.Value, new: ir.Value) -> bool:
    """Return whether a node is a Scan from one state to the other, in whose body the reads come first."""
    if node.op_type != "Scan" or new.producer() is not node:
        return False
    place, body = list(node.outputs).index(new), node.attributes["body"].as_graph()
    read = [index for index, value in enumerate(node.inputs) if value is old]
    return read == [place] and reads_come_first(body.inputs[place], body.outputs[place])


def _ancestors(node: ir.Node) -> set[ir.Node]:
    """Return the nodes of a node's graph that must run before it, those that its subgraphs read among them."""
    found: set[ir.Node] = set()
    waiting = [node]
    while waiting:
        for value in _reads(waiting.pop()):
            producer = value.producer()
            if producer is not None and producer.graph is node.graph and producer not in found:
                found.add(producer)
                waiting.append(producer)
    return found


def _reads(node: ir.Node) -> list[ir.Value]:
    """Return the values that a node and its subgraphs read."""
    values = [value for value in node.inputs if value is not None]
    return values + [value for graph in subgraphs(node) for inner in graph for value in _reads(inner)]


def _copy(graph: ir.Graph, old: ir.Value) -> None:
    """Let all nodes read a copy: a maximum of one value, because ONNX Runtime removes Identity, and sums of zero."""
    readers, op = list(old.uses()), GraphBuilder(graph, f"copy.{old.name}")
    copied = typed_like(op.Max(old), old)
    for node, index in readers:
        node.replace_input_with(index, copied)
    graph.insert_before(graph[0], op.nodes)
