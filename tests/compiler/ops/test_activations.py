"""Activations: one table, whose torch function and ONNX nodes compute the same for every word of the vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import onnx_ir as ir
import pytest
import torch
from numpy.typing import NDArray

from archc.archspec.vocabulary import Activation
from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.lowerings.activations import activation_nodes, gated_nodes
from archc.compiler.modules.basic.activations import LEARNED
from archc.compiler.ops.activations import ACTIVATIONS, activation, gated
from tests.compiler.graphs import build, run, typed, value

FLOAT = ir.DataType.FLOAT
X = np.linspace(-6, 6, 101, dtype=np.float32)
UP = X[::-1].copy()


def computed(make: Callable[[GraphBuilder, ir.Value, ir.Value], ir.Value]) -> NDArray[Any]:
    """The result of nodes of `x` and `up`, by ONNX Runtime."""
    x, up = value("x", FLOAT, "n"), value("up", FLOAT, "n")
    (result,) = run(build([x, up], lambda op: [typed(make(op, x, up), "y", FLOAT, "n")]), {"x": X, "up": UP})
    return result


def test_the_tables_have_every_activation_of_the_vocabulary() -> None:
    assert {*ACTIVATIONS, *LEARNED} == set(get_args(get_args(Activation)[0]))
    assert not ACTIVATIONS.keys() & LEARNED.keys()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_nodes_compute_what_torch_does(name: str) -> None:
    actual = computed(lambda op, x, _: activation_nodes(op, x, name, FLOAT))
    np.testing.assert_allclose(actual, activation(name)(torch.from_numpy(X)).numpy(), atol=1e-6)


def test_a_beta_is_a_factor_inside_silu() -> None:
    actual = computed(lambda op, x, _: activation_nodes(op, x, "silu", FLOAT, 1.7))
    np.testing.assert_allclose(actual, X / (1 + np.exp(-1.7 * X)), atol=1e-6)
    np.testing.assert_allclose(activation("silu", 1.7)(torch.from_numpy(X)).numpy(), actual, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(("gelu", 0.0, 0.0, 0.0), id="plain"),
        pytest.param(("silu", 1.7, 2.5, 1.0), id="beta, limit and offset"),
        pytest.param(("relu2", 0.0, 2.5, 0.0), id="limit"),
    ],
)
def test_gated_nodes_compute_what_torch_does(options: tuple[str, float, float, float]) -> None:
    actual = computed(lambda op, x, up: gated_nodes(op, x, up, *options, FLOAT))
    expected = gated(torch.from_numpy(X), torch.from_numpy(UP), *options)
    np.testing.assert_allclose(actual, expected.numpy(), atol=1e-5)
