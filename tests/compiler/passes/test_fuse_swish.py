"""An activation times its own sigmoid as one node."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from archc.compiler.passes.fuse_swish import fuse_swish
from tests.compiler.graphs import constant, model, operators, run, value

FLOAT = ir.DataType.FLOAT


def graph(
    beta: float | None = None, other: bool = False, seen: bool = False, turned: bool = False, each: bool = False
) -> ir.Model:
    """x · sigmoid(βx).

    `other` multiplies something else, `seen` gives the sigmoid too, `turned` swaps the factors, and `each` column has
    a β of its own.
    """
    x, y = value("x", FLOAT, "batch", 6), value("y", FLOAT, "batch", 6)
    nodes, constants = [], []
    inner = x
    if beta is not None:
        constants.append(constant("beta", np.full(6 if each else 1, beta, np.float32)))
        nodes.append(ir.Node("", "Mul", [x, constants[0]], name="scaled"))
        inner = nodes[0].outputs[0]
    gate = ir.Node("", "Sigmoid", [inner], name="gate")
    factors = [y if other else x, gate.outputs[0]]
    product = ir.Node("", "Mul", factors[::-1] if turned else factors, name="product")
    outputs = [product.outputs[0], *([gate.outputs[0]] if seen else [])]
    for output in outputs:
        output.type, output.shape = ir.TensorType(FLOAT), ir.Shape(["batch", 6])
    return model([x, y], [*nodes, gate, product], outputs, constants)


@pytest.mark.parametrize("beta", [None, 1.702])
@pytest.mark.parametrize("turned", [False, True])
def test_one_node_gives_the_same_numbers(beta: float | None, turned: bool) -> None:
    made = graph(beta, turned=turned)
    name = made.graph.outputs[0].name
    assert fuse_swish(made) == 1
    assert operators(made) == ["QuickGelu"]
    assert made.graph.outputs[0].name == name
    x = np.linspace(-30, 30, 24, dtype=np.float32).reshape(4, 6)
    (got,) = run(made, {"x": x, "y": x})
    np.testing.assert_allclose(got, x / (1 + np.exp(-(beta or 1.0) * x.astype(np.float64))), atol=1e-5)


@pytest.mark.parametrize("change", [{"other": True}, {"seen": True}, {"beta": 2.0, "each": True}])
def test_what_is_no_swish_stays(change: dict[str, bool]) -> None:
    made = graph(**change)
    before = operators(made)
    assert fuse_swish(made) == 0
    assert operators(made) == before
