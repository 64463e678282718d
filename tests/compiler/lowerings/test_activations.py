"""Swish by operators that runtimes have, and the activations of experts after lowering, next to torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.domains import MICROSOFT
from archc.compiler.lowerings.activations import activation_nodes, gated_nodes, quick_gelu, swish
from archc.compiler.lowerings.driver import Lower, Lowering
from archc.compiler.ops.activations import ACTIVATIONS, activation, gated
from tests.compiler.graphs import build, operators, run, typed, value

FLOAT, FLOAT16 = ir.DataType.FLOAT, ir.DataType.FLOAT16
X = np.linspace(-30, 30, 121, dtype=np.float32)
UP = np.cos(X) * 5
SWISHES: dict[str, Lowering] = {"Swish": swish, "QuickGelu": quick_gelu}
EITHER = pytest.mark.parametrize("lowering", SWISHES)
ALPHAS = pytest.mark.parametrize("alpha", [None, 1.0, 1.702, -0.5], ids=["default", "one", "1.702", "negative"])


def lowered(
    make: Callable[[GraphBuilder, ir.Value, ir.Value], ir.Value], lowering: Lowering, dtype: ir.DataType = FLOAT
) -> ir.Model:
    """A graph of nodes of `x` and `up`, with its Swish nodes lowered."""
    x, up = value("x", dtype, "n"), value("up", dtype, "n")
    graph_model = build([x, up], lambda op: [typed(make(op, x, up), "y", dtype, "n")])
    Lower({}, {"Swish": lowering})(graph_model)
    assert "Swish" not in operators(graph_model)
    return graph_model


def swish_of(alpha: float | None, lowering: str, dtype: ir.DataType = FLOAT) -> ir.Model:
    attributes = {} if alpha is None else {"alpha": alpha}
    return lowered(lambda op, x, _: op.Swish(x, **attributes), SWISHES[lowering], dtype)


@EITHER
@ALPHAS
def test_swish_is_x_times_the_sigmoid_of_alpha_x(alpha: float | None, lowering: str) -> None:
    graph_model = swish_of(alpha, lowering)
    (y,) = run(graph_model, {"x": X, "up": X})
    wide = X.astype(np.float64)
    np.testing.assert_allclose(y, wide / (1 + np.exp(-(1.0 if alpha is None else alpha) * wide)), atol=1e-5)
    assert [(output.name, output.dtype) for output in graph_model.graph.outputs] == [("y", FLOAT)]


@ALPHAS
def test_quick_gelu_is_one_node(alpha: float | None) -> None:
    graph_model = swish_of(alpha, "QuickGelu")
    assert operators(graph_model) == ["QuickGelu"]
    (node,) = graph_model.graph
    assert node.domain == MICROSOFT
    assert graph_model.graph.opset_imports[MICROSOFT] == 1
    # QuickGelu's default is 1.702.
    assert node.attributes["alpha"].as_float() == pytest.approx(1.0 if alpha is None else alpha)


def test_the_portable_form_has_standard_operators_only() -> None:
    assert operators(swish_of(1.0, "Swish")) == ["Sigmoid", "Mul"]
    assert operators(swish_of(1.702, "Swish")) == ["Mul", "Sigmoid", "Mul"]
    assert list(swish_of(1.702, "Swish").graph.opset_imports) == [""]


@EITHER
@ALPHAS
def test_float16_stays_float16(alpha: float | None, lowering: str) -> None:
    graph_model = swish_of(alpha, lowering, FLOAT16)
    x = X.astype(np.float16)
    (y,) = run(graph_model, {"x": x, "up": x})
    assert y.dtype == np.float16
    expected = torch.from_numpy(X) * (torch.from_numpy(X) * (1.0 if alpha is None else alpha)).sigmoid()
    np.testing.assert_allclose(y, expected.numpy(), rtol=5e-3, atol=5e-3)


@EITHER
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_equals_torch(name: str, lowering: str) -> None:
    graph_model = lowered(lambda op, x, _: activation_nodes(op, x, name, FLOAT), SWISHES[lowering])
    (y,) = run(graph_model, {"x": X, "up": UP})
    np.testing.assert_allclose(y, activation(name)(torch.from_numpy(X)).numpy(), rtol=1e-6, atol=1e-5)


GATED: dict[str, dict[str, Any]] = {
    "silu": {"name": "silu"},
    "gelu": {"name": "gelu"},
    "beta": {"name": "silu", "beta": 1.702},
    "limit": {"name": "silu", "limit": 2.5},
    "activation limit": {"name": "silu", "activation_limit": 0.5},
    "offset": {"name": "silu", "up_offset": 1.0},
    "beta, limit and offset": {"name": "silu", "beta": 1.702, "limit": 2.5, "up_offset": 1.0},
    "relu2, limit": {"name": "relu2", "limit": 2.5},
}


@EITHER
@pytest.mark.parametrize("case", GATED)
@pytest.mark.parametrize("dtype", [FLOAT, FLOAT16], ids=["float32", "float16"])
def test_a_gated_product_equals_torch(case: str, lowering: str, dtype: ir.DataType) -> None:
    options = {"beta": 0.0, "limit": 0.0, "up_offset": 0.0, **GATED[case]}
    graph_model = lowered(lambda op, x, up: gated_nodes(op, x, up, **options, dtype=dtype), SWISHES[lowering], dtype)
    feeds = {"x": X.astype(dtype.numpy()), "up": UP.astype(dtype.numpy())}
    (y,) = run(graph_model, feeds)
    assert y.dtype == dtype.numpy()
    expected = gated(*(torch.from_numpy(item).float() for item in feeds.values()), **options).numpy()
    tolerance = 1e-5 if dtype == FLOAT else 5e-3
    np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance)


def test_a_limit_clamps_the_gate_from_above_and_the_factor_on_both_sides() -> None:
    """relu(min(gate, 2)) · (clip(up, −2, 2) + 1), by hand."""
    options = {"name": "relu", "beta": 0.0, "limit": 2.0, "up_offset": 1.0, "dtype": FLOAT}
    graph_model = lowered(lambda op, x, up: gated_nodes(op, x, up, **options), swish)
    gate, up = np.array([3.0, 1.5, -9.0, 1.0], np.float32), np.array([5.0, -7.0, 1.0, 0.5], np.float32)
    assert run(graph_model, {"x": gate, "up": up})[0].tolist() == [6.0, -1.5, 0.0, 1.5]
