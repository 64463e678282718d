"""Merging of consecutive `If` nodes with the same condition.

Each If is two graphs that a session prepares when it is created, and a frame that is set up in every call.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx_ir as ir

from archc.compiler.graph.values import replace_value, subgraphs

_BRANCHES = ("then_branch", "else_branch")


class MergeIfs(ir.passes.InPlacePass):
    """Merges consecutive `If` nodes with the same condition; nodes between them are duplicated into both branches.

    Updates of caches and products with matrices stay where they are.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Merge Ifs of which none depends on a node with subgraphs that depends on the one before."""
        regions = [region for region in _regions(model.graph) if region.choices > 1]
        for region in regions:
            _join(model.graph, region)
        return ir.passes.PassResult(model, modified=bool(regions))


class _Region:
    """Ifs on one condition and the nodes between them, in the order of the graph."""

    def __init__(self, first: ir.Node) -> None:
        self.condition = first.inputs[0]
        self.nodes = [first]
        self.choices = 1
        self._made = set(first.outputs)
        self._between: dict[ir.Node, None] = {}  # nodes that depend on the region and are not in it so far
        self._beyond: set[ir.Value] = set()  # values that depend on them through nodes that must stay outside

    def takes(self, choice: ir.Node) -> bool:
        """Return whether an If can join the region: all nodes in between can."""
        return choice.inputs[0] is self.condition and self._beyond.isdisjoint(_reads(choice))

    def add(self, choice: ir.Node) -> None:
        """Add an If to the region, after the nodes in between that it depends on."""
        needed: set[ir.Node] = set()
        sought = list(_reads(choice))
        while sought:
            maker = sought.pop().producer()
            if maker in self._between and maker not in needed:
                needed.add(maker)
                sought += _reads(maker)
        self.nodes += [node for node in self._between if node in needed]
        self.nodes.append(choice)
        for node in needed:
            del self._between[node]
        self._made.update(choice.outputs)
        self.choices += 1

    def pass_by(self, node: ir.Node) -> None:
        """Record whether a later node depends on the region, and whether it may join it."""
        reads = set(_reads(node))
        if not self._beyond.isdisjoint(reads):
            self._beyond.update(node.outputs)
        elif not self._made.isdisjoint(reads):
            self._made.update(node.outputs)
            if _may_be_in_both(node):
                self._between[node] = None
            else:
                self._beyond.update(node.outputs)


def _regions(graph: ir.Graph) -> Iterator[_Region]:
    region: _Region | None = None
    for node in graph:
        if not _is_choice(node):
            if region is not None:
                region.pass_by(node)
        elif region is not None and region.takes(node):
            region.add(node)
        else:
            if region is not None:
                yield region
            region = _Region(node)
    if region is not None:
        yield region


def _is_choice(node: ir.Node) -> bool:
    """Return whether a node is an If whose branches have no subgraphs and compute its outputs."""
    if node.op_type != "If":
        return False
    branches = [node.attributes[name].as_graph() for name in _BRANCHES]
    return all(
        not any(list(subgraphs(inner)) for inner in branch)
        and all((maker := result.producer()) is not None and maker.graph is branch for result in branch.outputs)
        for branch in branches
    )


def _may_be_in_both(node: ir.Node) -> bool:
    """Return whether a node may be duplicated: a session packs a matrix again for every product that reads it."""
    matrices = [value for value in node.inputs if value is not None and value.const_value is not None]
    return (
        not list(subgraphs(node))
        and node.op_type != "TensorScatter"
        and all(len(value.shape or ()) < 2 for value in matrices)
        and not any(output.is_graph_output() for output in node.outputs)
    )


def _reads(node: ir.Node) -> Iterator[ir.Value]:
    """Yield the values that a node and its subgraphs read."""
    yield from (value for value in node.inputs if value is not None)
    for graph in subgraphs(node):
        yield from (value for value in graph.outputs)
        for inner in graph:
            yield from _reads(inner)


def _join(graph: ir.Graph, region: _Region) -> None:
    inside = {*region.nodes, *(inner for node in region.nodes for branch in subgraphs(node) for inner in branch)}
    results = [
        value
        for node in region.nodes
        for value in node.outputs
        if value.is_graph_output() or any(use.node not in inside for use in value.uses())
    ]
    later = _dependent(graph, region)
    attributes = [ir.AttrGraph(name, _branch(region, name, results)) for name in _BRANCHES]
    joined = ir.Node(
        "", "If", [region.condition], attributes, num_outputs=len(results), name=f"{region.nodes[0].name}.joined"
    )
    graph.insert_after(region.nodes[-1], joined)
    for value, result in zip(results, joined.outputs, strict=True):
        replace_value(value, result)
        value.name = f"{result.name}.apart"
    graph.remove(later)
    graph.insert_after(joined, later)
    for node in reversed(region.nodes):
        graph.remove(node, safe=True)


def _dependent(graph: ir.Graph, region: _Region) -> list[ir.Node]:
    """Return the nodes between those of the region that depend on it: they must follow it."""
    inside, left = set(region.nodes), len(region.nodes)
    outputs: set[ir.Value] = set()
    later = []
    for node in graph:
        if node in inside:
            outputs.update(node.outputs)
            left -= 1
            if not left:
                break
        elif not outputs.isdisjoint(_reads(node)):
            outputs.update(node.outputs)
            later.append(node)
    return later


def _branch(region: _Region, name: str, results: Iterable[ir.Value]) -> ir.Graph:
    """Return one branch of all Ifs of a region, one after another, with `results` as outputs."""
    nodes: list[ir.Node] = []
    here: dict[ir.Value, ir.Value] = {}
    suffix = name.removesuffix("_branch")
    for node in region.nodes:
        if list(subgraphs(node)):
            branch = node.attributes[name].as_graph()
            body, outputs = list(branch), list(branch.outputs)
            branch.outputs.clear()
            branch.remove(body)
            for inner in body:
                for index, value in enumerate(inner.inputs):
                    if value in here:
                        inner.replace_input_with(index, here[value])
        else:
            inputs = [None if value is None else here.get(value, value) for value in node.inputs]
            copy = ir.Node(
                node.domain,
                node.op_type,
                inputs,
                node.attributes.values(),
                num_outputs=len(node.outputs),
                name=f"{node.name}.{suffix}",
            )
            for value, result in zip(node.outputs, copy.outputs, strict=True):
                result.name = f"{value.name}.{suffix}" if value.name else value.name
                result.type, result.shape = value.type, value.shape
            body, outputs = [copy], list(copy.outputs)
        nodes += body
        here.update(zip(node.outputs, outputs, strict=True))
    return ir.Graph([], [here[value] for value in results], nodes=nodes, name=f"{region.nodes[0].name}.{suffix}")
