from __future__ import annotations

import numpy as np
import onnx_ir as ir

from archc.compiler.passes.clean import clean
from tests.compiler.graphs import model, operators, run, value

X = ("x", ir.DataType.FLOAT, "batch", 3)


def test_equal_nodes_become_one_and_unused_ones_go() -> None:
    x = value(*X)
    twice = [ir.Node("", "Exp", [x], name=name) for name in ("first", "second")]
    unused = ir.Node("", "Cos", [x], name="unused")
    total = ir.Node("", "Add", [node.outputs[0] for node in twice], name="sum")
    graph_model = model([x], [*twice, unused, total], total.outputs)
    total.outputs[0].type, total.outputs[0].shape = x.type, x.shape
    assert clean(graph_model) == 2
    assert sorted(operators(graph_model)) == ["Add", "Exp"]
    numbers = np.array([[0.0, 1.0, -1.0]], np.float32)
    np.testing.assert_allclose(run(graph_model, {"x": numbers})[0], 2 * np.exp(numbers), rtol=1e-6)


def test_a_clean_graph_stays() -> None:
    x = value(*X)
    node = ir.Node("", "Exp", [x], name="only")
    graph_model = model([x], [node], node.outputs)
    assert clean(graph_model) == 0
    assert operators(graph_model) == ["Exp"]


def test_inputs_stay_even_where_nothing_reads_them() -> None:
    x, y = value(*X), value("y", ir.DataType.FLOAT, 1)
    node = ir.Node("", "Exp", [x], name="only")
    graph_model = model([x, y], [node], node.outputs)
    clean(graph_model)
    assert [item.name for item in graph_model.graph.inputs] == ["x", "y"]
