"""Equal nodes become one, unused ones go, and values between inputs and outputs have no names of axes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.passes.clean import Clean, DropInnerAxisNames
from tests.compiler.graphs import build, model, operators, run, typed, value
from tests.compiler.lowerings.attention.problems import Attention

FLOAT = ir.DataType.FLOAT
X = ("x", FLOAT, "batch", 3)


def test_equal_nodes_become_one_and_unused_ones_go() -> None:
    x = value(*X)
    twice = [ir.Node("", "Exp", [x], name=name) for name in ("first", "second")]
    unused = ir.Node("", "Cos", [x], name="unused")
    total = ir.Node("", "Add", [node.outputs[0] for node in twice], name="sum")
    graph_model = model([x], [*twice, unused, total], total.outputs)
    typed(total.outputs[0], "y", FLOAT, "batch", 3)
    assert Clean()(graph_model).modified
    assert sorted(operators(graph_model)) == ["Add", "Exp"]
    numbers = np.array([[0.0, 1.0, -1.0]], np.float32)
    np.testing.assert_allclose(run(graph_model, {"x": numbers})[0], 2 * np.exp(numbers), rtol=1e-6)


def test_a_clean_graph_stays() -> None:
    x = value(*X)
    node = ir.Node("", "Exp", [x], name="only")
    graph_model = model([x], [node], node.outputs)
    assert not Clean()(graph_model).modified
    assert operators(graph_model) == ["Exp"]


def test_inputs_stay_even_if_nothing_reads_them() -> None:
    x, y = value(*X), value("y", FLOAT, 1)
    node = ir.Node("", "Exp", [x], name="only")
    graph_model = model([x, y], [node], node.outputs)
    Clean()(graph_model)
    assert [item.name for item in graph_model.graph.inputs] == ["x", "y"]


def test_axes_keep_their_names_at_the_ends_alone() -> None:
    x = value(*X)

    def make(op: GraphBuilder) -> list[ir.Value]:
        inner = typed(op.Exp(x), "inner", FLOAT, "batch", 3)
        fixed = typed(op.ReduceSum(inner, op.ints(0)), "fixed", FLOAT, 1, 3)
        return [typed(op.Add(inner, fixed), "y", FLOAT, "batch", 3)]

    graph_model = build([x], make)
    assert DropInnerAxisNames()(graph_model).modified
    shapes = {node.outputs[0].name: list(node.outputs[0].shape) for node in graph_model.graph}
    assert shapes == {"inner": [ir.SymbolicDim(None), 3], "fixed": [1, 3], "y": [ir.SymbolicDim("batch"), 3]}
    assert str(x.shape) == "[batch,3]"


def test_axes_of_branches_and_bodies_lose_their_names_as_well() -> None:
    x, many = value(*X), value("many", ir.DataType.BOOL)

    def make(op: GraphBuilder) -> list[ir.Value]:
        branches = {}
        for name in ("then_branch", "else_branch"):
            nested = op.nested(name)
            branches[name] = nested.subgraph([typed(nested.Exp(x), name, FLOAT, "batch", 3)])
        return [typed(op.If(many, **branches), "y", FLOAT, "batch", 3)]

    graph_model = build([x, many], make)
    assert DropInnerAxisNames()(graph_model).modified
    inner = [node for node in graph_model.graph.all_nodes() if node.op_type == "Exp"]
    assert [list(node.outputs[0].shape) for node in inner] == [[ir.SymbolicDim(None), 3]] * 2
    assert str(graph_model.graph.outputs[0].shape) == "[batch,3]"


def test_a_graph_without_named_inner_axes_stays() -> None:
    assert not DropInnerAxisNames()(Attention().model()).modified
