"""Activations: one table, whose torch function and ONNX nodes compute the same for every word of the vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import onnx_ir as ir
import pytest
import torch

from archc.archspec.vocabulary import Activation
from archc.compiler.graph.builder import op
from archc.compiler.modules.basic.activations import LEARNED
from archc.compiler.ops.activations import ACTIVATIONS, activation, activation_nodes, gated, gated_nodes
from tests.compiler.graphs import model, run, value

FLOAT = ir.DataType.FLOAT
X = np.linspace(-6, 6, 101, dtype=np.float32)


def computed(write: Callable[..., ir.Value]) -> np.ndarray:
    """The result of nodes that `write` adds, by ONNX Runtime: write(op, number, x, up)."""
    x, up = value("x", FLOAT, "n"), value("up", FLOAT, "n")
    nodes: list[ir.Node] = []

    def node(op_type: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:
        output = getattr(op, op_type)(*inputs, **attributes)
        nodes.append(output.producer())
        nodes[-1].name = f"node.{len(nodes)}"
        return output

    output = write(node, lambda number: node("Constant", value=ir.tensor(np.array(number, np.float32))), x, up)
    output.type, output.shape = ir.TensorType(FLOAT), ir.Shape(["n"])
    (result,) = run(model([x, up], nodes, [output]), {"x": X, "up": X[::-1].copy()})
    return result


def test_the_tables_have_every_activation_of_the_vocabulary() -> None:
    assert {*ACTIVATIONS, *LEARNED} == set(get_args(get_args(Activation)[0]))
    assert not ACTIVATIONS.keys() & LEARNED.keys()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_nodes_compute_what_torch_does(name: str) -> None:
    actual = computed(lambda op, number, x, _: activation_nodes(op, number, x, name))
    np.testing.assert_allclose(actual, activation(name)(torch.from_numpy(X)).numpy(), atol=1e-6)


def test_a_beta_is_a_factor_inside_silu() -> None:
    actual = computed(lambda op, number, x, _: activation_nodes(op, number, x, "silu", 1.7))
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
    actual = computed(lambda op, number, x, up: gated_nodes(op, number, x, up, *options))
    expected = gated(torch.from_numpy(X), torch.from_numpy(X[::-1].copy()), *options)
    np.testing.assert_allclose(actual, expected.numpy(), atol=1e-5)
