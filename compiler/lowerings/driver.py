"""The pass that applies a table of lowerings to a graph."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

import onnx_ir as ir

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.domains import ARCHC, ONNX
from archc.compiler.graph.values import drop_unused_initializers, replace_value, subgraphs

Results: TypeAlias = ir.Value | Sequence[ir.Value] | None
Lowering: TypeAlias = Callable[[ir.Node, GraphBuilder], Results]
"""Builds the replacement of a node with the builder and returns the values of its outputs.

None leaves the node as it is: a lowering may also replace nodes by itself.
"""


class Lower(ir.passes.InPlacePass):
    """Replaces every node that has a lowering, and such nodes that other lowerings add.

    `table` has the lowerings of the domain `archc` by operator type, `standard` those of standard operators. A lowering
    that returns nodes of its own operator is done with them.
    """

    def __init__(self, table: Mapping[str, Lowering], standard: Mapping[str, Lowering] | None = None) -> None:
        super().__init__()
        self.tables = {ARCHC: table, ONNX: standard or {}}

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Lower in graph order, so that a lowering finds its inputs lowered and its readers not."""
        waiting = deque((node, False) for node in model.graph)
        lowered = 0
        while waiting:
            node, closed = waiting.popleft()
            lowering = self.tables.get(node.domain, {}).get(node.op_type)
            if node.graph is None or lowering is None:
                continue
            op = GraphBuilder(model.graph, node.name or node.op_type, closed)
            if replace_node(node, op, lowering):
                lowered += 1
                own = (node.domain, node.op_type)
                added = _with_nested(op.nodes, closed)
                waiting.extendleft(reversed([item for item in added if (item[0].domain, item[0].op_type) != own]))
        _remove_dead(model.graph)
        if not any(node.domain == ARCHC for node in model.graph.all_nodes()):
            model.graph.opset_imports.pop(ARCHC, None)
        drop_unused_initializers(model.graph)
        return ir.passes.PassResult(model, modified=lowered > 0)


def _remove_dead(graph: ir.Graph) -> None:
    """Remove nodes of our own that nothing reads, because their readers were lowered to read something else."""
    for node in reversed(list(graph)):
        if node.domain == ARCHC and not any(value.uses() or value.is_graph_output() for value in node.outputs):
            graph.remove(node, safe=True)


def _with_nested(nodes: Sequence[ir.Node], closed: bool) -> Iterator[tuple[ir.Node, bool]]:
    """Yield nodes and those of their subgraphs, and whether each is in the body of a Scan, which captures nothing."""
    for node in nodes:
        for graph in subgraphs(node):
            yield from _with_nested(list(graph), closed or node.op_type == "Scan")
        yield node, closed


def replace_node(node: ir.Node, op: GraphBuilder, lowering: Lowering) -> bool:
    """Replace one node by what its lowering builds with `op`; return False if the lowering left the node."""
    results = lowering(node, op)
    if results is None:
        return False
    values = [results] if isinstance(results, ir.Value) else list(results)
    owner = node.graph
    assert isinstance(owner, ir.Graph)
    owner.insert_before(node, op.nodes)
    for old, new in zip(node.outputs, values, strict=True):
        replace_value(old, new)
    owner.remove(node, safe=True)
    return True
