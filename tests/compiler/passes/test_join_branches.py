"""Ifs on one condition become one, and the graph computes what it did."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from archc.compiler.passes.join_branches import join_branches
from tests.compiler.graphs import constant, model, operators, run, value

FLOAT = ir.DataType.FLOAT


class Chain:
    """A graph with one condition, made node by node."""

    def __init__(self) -> None:
        self.x, self.many = value("x", FLOAT, "rows", 4), value("many", ir.DataType.BOOL)
        self.other = value("other", ir.DataType.BOOL)
        self.nodes: list[ir.Node] = []
        self.constants: list[ir.Value] = []

    def node(self, op_type: str, *inputs: ir.Value, name: str, **attributes: ir.Attr) -> ir.Value:
        node = ir.Node("", op_type, inputs, attributes.values(), name=name)
        self.nodes.append(node)
        return self._typed(node, name)

    def choice(self, name: str, x: ir.Value, condition: ir.Value | None = None) -> ir.Value:
        """-x where the condition holds, |x| + 1 where it does not."""
        one = self.constant(f"{name}.one", np.ones(4, np.float32))
        negated = ir.Node("", "Neg", [x], name=f"{name}.neg")
        size = ir.Node("", "Abs", [x], name=f"{name}.abs")
        more = ir.Node("", "Add", [size.outputs[0], one], name=f"{name}.more")
        branches = [("then_branch", [negated]), ("else_branch", [size, more])]
        graphs = {}
        for branch, nodes in branches:
            for node in nodes:
                self._typed(node, node.name)
            graphs[branch] = ir.AttrGraph(branch, ir.Graph([], [nodes[-1].outputs[0]], nodes=nodes, name=f"{name}.g"))
        return self.node("If", condition or self.many, name=name, **graphs)

    def constant(self, name: str, array: np.ndarray) -> ir.Value:
        self.constants.append(constant(name, array))
        return self.constants[-1]

    def model(self, *outputs: ir.Value) -> ir.Model:
        return model([self.x, self.many, self.other], self.nodes, outputs, self.constants)

    def _typed(self, node: ir.Node, name: str | None) -> ir.Value:
        result = node.outputs[0]
        result.name, result.type, result.shape = name, ir.TensorType(FLOAT), ir.Shape(["rows", 4])
        return result


def check(chain: Chain, outputs: Sequence[ir.Value], gone: int) -> list[str]:
    """The operators of the main graph after the pass, which changes no number."""
    graph = chain.model(*outputs)
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    feeds = [{"x": x, "many": np.array(m), "other": np.array(o)} for m in (True, False) for o in (True, False)]
    wanted = [run(graph, feed) for feed in feeds]
    assert join_branches(graph) == gone
    for feed, expected in zip(feeds, wanted, strict=True):
        for got, result in zip(run(graph, feed), expected, strict=True):
            assert np.array_equal(got, result)
    return operators(graph)


def test_what_lies_between_is_in_both_branches():
    chain = Chain()
    between = chain.node("Sin", chain.choice("first", chain.x), name="between")
    second = chain.choice("second", chain.node("Add", between, chain.x, name="sum"))
    assert check(chain, [chain.choice("third", second)], 2) == ["If"]


def test_what_others_read_is_an_output_and_they_come_after():
    chain = Chain()
    first = chain.choice("first", chain.x)
    aside = chain.node("Cos", first, name="aside")
    further = chain.node("Sin", aside, name="further")
    before = chain.node("Exp", chain.x, name="before")
    second = chain.choice("second", chain.node("Add", first, before, name="sum"))
    outputs = [chain.node("Add", second, further, name="last"), first]
    assert check(chain, outputs, 1) == ["Exp", "If", "Cos", "Sin", "Add"]


def test_choices_that_do_not_need_each_other_are_joined():
    chain = Chain()
    both = [chain.choice("first", chain.x), chain.choice("second", chain.node("Exp", chain.x, name="e"))]
    assert check(chain, both, 1) == ["Exp", "If"]


def test_neighbours_on_another_condition_stay_apart():
    chain = Chain()
    second = chain.choice("second", chain.choice("first", chain.x), chain.other)
    assert check(chain, [chain.choice("third", second)], 0) == ["If", "If", "If"]


def test_a_product_with_a_matrix_stays_where_it_is():
    chain = Chain()
    matrix = chain.constant("matrix", np.eye(4, dtype=np.float32))
    product = chain.node("MatMul", chain.choice("first", chain.x), matrix, name="product")
    after = chain.node("Sin", product, name="after")
    assert check(chain, [chain.choice("second", after)], 0) == ["If", "MatMul", "Sin", "If"]


def test_nothing_that_the_graph_gives_is_made_twice():
    chain = Chain()
    between = chain.node("Sin", chain.choice("first", chain.x), name="between")
    assert check(chain, [chain.choice("second", between), between], 0) == ["If", "Sin", "If"]


def test_what_has_graphs_of_its_own_stays_between():
    chain = Chain()
    first = chain.choice("first", chain.x)
    nested = chain.choice("nested", first, chain.other)
    assert check(chain, [chain.choice("second", chain.node("Add", nested, first, name="sum"))], 0) == [
        "If", "If", "Add", "If",
    ]  # fmt: skip
