"""The pass that applies lowerings: order, nested graphs, bodies, what it leaves and what it removes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
import pytest

from archc.compiler.contract.ports import mark, port
from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.domains import ARCHC, OPSET
from archc.compiler.lowerings.driver import Lower, Results
from tests.compiler.graphs import build, constant, model, operators, run, semantic, typed, value, weight

FLOAT, BOOL = ir.DataType.FLOAT, ir.DataType.BOOL
SHAPE = ("batch", 4)


def twice(node: ir.Node, op: GraphBuilder) -> ir.Value:
    """Lower archc.Twice to 2 · x."""
    doubled: ir.Value = op.Mul(node.inputs[0], op.scalar(2.0, FLOAT))
    return doubled


def chain(*op_types: str, domain: str = ARCHC) -> ir.Model:
    """A graph of nodes one after another, each with one input and one output."""
    x = value("x", FLOAT, *SHAPE)

    def make(op: GraphBuilder) -> Sequence[ir.Value]:
        last = x
        for index, op_type in enumerate(op_types):
            last = typed(op.node(op_type, last, domain=domain), f"y.{index}", FLOAT, *SHAPE)
        return [last]

    return build([x], make)


def everywhere(graph_model: ir.Model) -> list[str]:
    """The operators of the graph and of its subgraphs."""
    return sorted(node.op_type for node in graph_model.graph.all_nodes())


X = np.arange(8, dtype=np.float32).reshape(2, 4)


def test_a_lowered_node_has_the_name_type_shape_and_port_of_its_output() -> None:
    graph_model = chain("Twice", "Twice")
    mark(graph_model.graph.outputs[0], {"role": "logits"})
    assert Lower({"Twice": twice})(graph_model).modified
    assert operators(graph_model) == ["Mul", "Mul"]
    assert [node.outputs[0].name for node in graph_model.graph] == ["y.0", "y.1"]
    (output,) = graph_model.graph.outputs
    assert (output.name, output.dtype, str(output.shape)) == ("y.1", FLOAT, "[batch,4]")
    assert port(output) == {"role": "logits"}
    np.testing.assert_array_equal(run(graph_model, {"x": X})[0], 4 * X)


def test_equal_constants_of_several_lowerings_are_one_initializer() -> None:
    graph_model = chain("Twice", "Twice")
    Lower({"Twice": twice})(graph_model)
    assert len(graph_model.graph.initializers) == 1


def test_a_graph_without_our_nodes_does_not_import_the_domain() -> None:
    graph_model = chain("Twice")
    assert ARCHC in graph_model.graph.opset_imports
    Lower({"Twice": twice})(graph_model)
    assert ARCHC not in graph_model.graph.opset_imports


def test_an_operator_without_a_lowering_stays_and_its_domain_stays_imported() -> None:
    graph_model = chain("Twice", "Other")
    assert Lower({"Twice": twice})(graph_model).modified
    assert operators(graph_model) == ["Mul", "Other"]
    assert ARCHC in graph_model.graph.opset_imports


def test_none_leaves_the_node_as_it_is() -> None:
    seen: list[str | None] = []

    def leave(node: ir.Node, op: GraphBuilder) -> None:
        seen.append(node.outputs[0].name)

    graph_model = chain("Twice", "Twice")
    assert not Lower({"Twice": leave})(graph_model).modified
    assert seen == ["y.0", "y.1"]
    assert operators(graph_model) == ["Twice", "Twice"]
    assert ARCHC in graph_model.graph.opset_imports


def test_an_operator_of_another_domain_is_another_operator() -> None:
    graph_model = chain("Neg", domain="")
    assert not Lower({"Neg": twice})(graph_model).modified
    assert Lower({}, {"Neg": twice})(graph_model).modified
    assert operators(graph_model) == ["Mul"]
    elsewhere = chain("Neg", domain="com.microsoft")
    assert not Lower({"Neg": twice}, {"Neg": twice})(elsewhere).modified


def test_inputs_are_lowered_and_readers_are_not() -> None:
    found: list[tuple[str, list[str]]] = []

    def record(node: ir.Node, op: GraphBuilder) -> ir.Value:
        source = node.inputs[0].producer()
        readers = [use.node.op_type for use in node.outputs[0].uses()]
        found.append((source.op_type if source else "", readers))
        return twice(node, op)

    Lower({"Twice": record})(chain("Twice", "Twice", "Twice"))
    assert found == [("", ["Twice"]), ("Mul", ["Twice"]), ("Mul", [])]


def test_nodes_that_a_lowering_adds_are_lowered_in_their_order() -> None:
    order: list[str] = []

    def outer(node: ir.Node, op: GraphBuilder) -> ir.Value:
        order.append("outer")
        inner = op.Inner(op.Inner(node.inputs[0], domain=ARCHC), domain=ARCHC)
        negated: ir.Value = op.Neg(inner)
        return negated

    def inner(node: ir.Node, op: GraphBuilder) -> ir.Value:
        order.append("inner")
        return twice(node, op)

    graph_model = chain("Outer", "Twice")
    Lower({"Outer": outer, "Inner": inner, "Twice": lambda *args: order.append("last") or twice(*args)})(graph_model)
    assert order == ["outer", "inner", "inner", "last"]
    assert operators(graph_model) == ["Mul", "Mul", "Neg", "Mul"]
    np.testing.assert_array_equal(run(graph_model, {"x": X})[0], -8 * X)


@pytest.mark.parametrize("domain", [ARCHC, ""], ids=["ours", "standard"])
def test_a_lowering_s_own_operator_is_final(domain: str) -> None:
    calls: list[str] = []

    def shifted(node: ir.Node, op: GraphBuilder) -> ir.Value:
        calls.append(node.op_type)
        summed: ir.Value = op.Neg(op.Abs(node.inputs[0]), domain=domain)
        return summed

    graph_model = chain("Neg", domain=domain)
    table = {"Neg": shifted}
    Lower(table if domain else {}, None if domain else table)(graph_model)
    assert calls == ["Neg"]
    assert operators(graph_model) == ["Abs", "Neg"]


def test_several_outputs_are_replaced_each_by_its_value() -> None:
    def halves(node: ir.Node, op: GraphBuilder) -> Results:
        return op.Split(node.inputs[0], outputs=2, axis=1, num_outputs=2)

    x = value("x", FLOAT, *SHAPE)

    def make(op: GraphBuilder) -> Sequence[ir.Value]:
        parts = op.Halves(x, outputs=2, domain=ARCHC)
        return [typed(part, name, FLOAT, "batch", 2) for part, name in zip(parts, ("left", "right"), strict=True)]

    graph_model = build([x], make)
    Lower({"Halves": halves})(graph_model)
    assert [output.name for output in graph_model.graph.outputs] == ["left", "right"]
    left, right = run(graph_model, {"x": X})
    np.testing.assert_array_equal(np.concatenate([left, right], 1), X)


def test_a_lowering_that_returns_too_few_values_is_refused() -> None:
    x = value("x", FLOAT, *SHAPE)
    graph_model = build([x], lambda op: [typed(op.Halves(x, outputs=2, domain=ARCHC)[0], "left", FLOAT, *SHAPE)])
    with pytest.raises(ValueError, match="shorter"):
        Lower({"Halves": twice})(graph_model)


def branches(node: ir.Node, op: GraphBuilder) -> ir.Value:
    """Lower archc.Choice(x, condition) to an If whose branches have archc nodes."""
    x, condition = node.inputs
    graphs = {}
    for name, count in (("then_branch", 1), ("else_branch", 2)):
        inner = op.nested(name)
        last = x
        for _ in range(count):
            last = inner.Twice(last, domain=ARCHC)
        graphs[name] = inner.subgraph([typed(last, f"{name}.y", FLOAT, *SHAPE)])
    result: ir.Value = op.If(condition, **graphs)
    return result


def test_nodes_of_branches_are_lowered_with_constants_of_the_main_graph() -> None:
    x, many = value("x", FLOAT, *SHAPE), value("many", BOOL)
    node = semantic("Choice", [x, many], "y", SHAPE)
    graph_model = model([x, many], [node], node.outputs)
    graph_model.graph.opset_imports[ARCHC] = 1
    Lower({"Choice": branches, "Twice": twice})(graph_model)
    assert everywhere(graph_model) == ["If", "Mul", "Mul", "Mul"]
    assert ARCHC not in graph_model.graph.opset_imports
    assert len(graph_model.graph.initializers) == 1
    for condition, factor in ((True, 2), (False, 4)):
        np.testing.assert_array_equal(run(graph_model, {"x": X, "many": np.array(condition)})[0], factor * X)


def scanned(node: ir.Node, op: GraphBuilder) -> ir.Value:
    """Lower archc.Rows(x) to a Scan over rows, whose body has an archc node."""
    inner = GraphBuilder(op.graph, f"{op.name}.body", closed=True)
    row = typed(ir.Value(name="row"), "row", FLOAT, 4)
    result = typed(inner.Twice(row, domain=ARCHC), "result", FLOAT, 4)
    body = ir.Graph([row], [result], nodes=inner.nodes, opset_imports={"": OPSET}, name=inner.name)
    rows: ir.Value = op.Scan(node.inputs[0], body=body, num_scan_inputs=1)
    return rows


def test_bodies_of_a_scan_have_constant_nodes() -> None:
    """A body captures nothing, not even an initializer."""
    graph_model = chain("Rows")
    Lower({"Rows": scanned, "Twice": twice})(graph_model)
    assert everywhere(graph_model) == ["Constant", "Mul", "Scan"]
    (scan,) = graph_model.graph
    assert [node.op_type for node in scan.attributes["body"].as_graph()] == ["Constant", "Mul"]
    assert not graph_model.graph.initializers
    np.testing.assert_array_equal(run(graph_model, {"x": X})[0], 2 * X)


def test_a_branch_within_a_body_has_constant_nodes_too() -> None:
    def nested(node: ir.Node, op: GraphBuilder) -> ir.Value:
        """A body with an If: its branches may read the body, and no initializer."""
        inner = GraphBuilder(op.graph, f"{op.name}.body", closed=True)
        row = typed(ir.Value(name="row"), "row", FLOAT, 4)
        positive = inner.Greater(inner.ReduceSum(row, keepdims=0), inner.scalar(9.0, FLOAT))
        result = typed(inner.Choice(row, positive, domain=ARCHC), "result", FLOAT, 4)
        body = ir.Graph([row], [result], nodes=inner.nodes, opset_imports={"": OPSET}, name=inner.name)
        rows: ir.Value = op.Scan(node.inputs[0], body=body, num_scan_inputs=1)
        return rows

    graph_model = chain("Rows")
    Lower({"Rows": nested, "Choice": branches, "Twice": twice})(graph_model)
    assert everywhere(graph_model).count("Mul") == 3
    assert everywhere(graph_model).count("Constant") == 4
    assert not graph_model.graph.initializers
    np.testing.assert_array_equal(run(graph_model, {"x": X})[0], X * np.array([[4], [2]]))


def test_nodes_of_our_own_that_nothing_reads_are_removed() -> None:
    """A lowering may read the input of its input, as attention over a whole cache does."""

    def skip(node: ir.Node, op: GraphBuilder) -> ir.Value:
        return twice(node.inputs[0].producer().inputs[0].producer(), op)

    graph_model = chain("First", "Second", "Skip")
    Lower({"Skip": skip})(graph_model)
    assert operators(graph_model) == ["Mul"]
    assert ARCHC not in graph_model.graph.opset_imports
    np.testing.assert_array_equal(run(graph_model, {"x": X})[0], 2 * X)


def test_a_standard_node_that_nothing_reads_is_not_the_driver_s() -> None:
    x = value("x", FLOAT, *SHAPE)
    unused = ir.Node("", "Exp", [x], name="unused")
    node = semantic("Twice", [x], "y", SHAPE)
    graph_model = model([x], [unused, node], node.outputs)
    Lower({"Twice": twice})(graph_model)
    assert operators(graph_model) == ["Exp", "Mul"]


def test_initializers_that_nothing_reads_are_removed() -> None:
    x = value("x", FLOAT, *SHAPE)
    weights = [weight("w", 4, 4), constant("c", np.ones(4, np.float32)), weight("read", 4)]
    node = semantic("Twice", [x, weights[0], weights[1]], "y", SHAPE)
    last = semantic("Other", [node.outputs[0], weights[2]], "z", SHAPE)
    graph_model = model([x], [node, last], last.outputs, weights)
    Lower({"Twice": twice})(graph_model)
    assert sorted(graph_model.graph.initializers) == ["constant.float..2.0", "read"]


def test_a_node_that_an_earlier_lowering_removed_is_passed_over() -> None:
    """A lowering may replace its siblings, as products of one activation under one If do."""
    calls: list[str | None] = []

    def both(node: ir.Node, op: GraphBuilder) -> ir.Value:
        calls.append(node.outputs[0].name)
        (other,) = [use.node for use in node.inputs[0].uses() if use.node is not node]
        other.outputs[0].replace_all_uses_with(node.outputs[0], replace_graph_outputs=True)
        node.graph.remove(other, safe=True)
        return twice(node, op)

    x = value("x", FLOAT, *SHAPE)
    nodes = [semantic("Twice", [x], name, SHAPE) for name in ("first", "second")]
    total = ir.Node("", "Add", [node.outputs[0] for node in nodes], name="total")
    typed(total.outputs[0], "sum", FLOAT, *SHAPE)
    graph_model = model([x], [*nodes, total], total.outputs)
    graph_model.graph.opset_imports[ARCHC] = 1
    Lower({"Twice": both})(graph_model)
    assert calls == ["first"]
    assert operators(graph_model) == ["Mul", "Add"]
