"""Products that read matrices as checkpoints store them, one row per output."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
import torch

from archc.compiler.lowerings.linear import stored_rows
from archc.compiler.weights.steps import Transpose
from tests.compiler.graphs import filled, operators, run, weights_of
from tests.compiler.lowerings.linear.cases import expected, lowered, normal, product, tied

BIASED = pytest.mark.parametrize("biased", [False, True], ids=["plain", "bias"])
SLOTS = {"w": normal(6, 4), "w.bias": torch.arange(6.0)}


def bias(biased: bool) -> torch.Tensor | None:
    return SLOTS["w.bias"] if biased else None


@BIASED
def test_the_matrix_is_stored_as_it_is_and_the_product_is_the_torch_operator_s(biased: bool) -> None:
    graph = lowered(product(rows=6, columns=4, biased=biased), stored_rows.linear)
    assert operators(graph) == ["FusedMatMul", *["Add"] * biased]
    stored = weights_of(graph)["w"]
    assert (list(stored.shape), stored.steps) == ([6, 4], ())
    assert len(weights_of(graph)) == 1 + biased
    filled(graph, SLOTS)
    for shape in ((2, 3, 4), (1, 1, 4), (2, 0, 4)):
        x = normal(*shape, seed=1).numpy()
        (y,) = run(graph, {"x": x})
        np.testing.assert_allclose(y, expected(x, SLOTS["w"], bias(biased)), atol=1e-6)
        assert y.shape == (*shape[:2], 6)


@BIASED
def test_gemm_multiplies_rows_of_two_axes_and_adds_their_bias(biased: bool) -> None:
    graph = lowered(product(rows=6, columns=4, axes=("tokens",), biased=biased), stored_rows.linear)
    assert operators(graph) == ["Gemm"]
    assert list(weights_of(graph)) == ["w", *["w.bias"] * biased]
    assert list(graph.graph.opset_imports) == [""]
    filled(graph, SLOTS)
    for count in (3, 1, 0):
        x = normal(count, 4, seed=2).numpy()
        (y,) = run(graph, {"x": x})
        np.testing.assert_allclose(y, expected(x, SLOTS["w"], bias(biased)), atol=1e-5)


def test_a_table_that_is_looked_up_too_is_stored_once() -> None:
    graph = lowered(tied(6, 4), stored_rows.linear)
    assert list(weights_of(graph)) == ["embedding.tokens.weight"]
    table, ids = normal(6, 4), np.array([[5, 0]])
    rows, logits = run(filled(graph, {"embedding.tokens.weight": table}), {"ids": ids, "x": np.ones((1, 1, 4), "f4")})
    np.testing.assert_allclose(logits[0, 0], table.sum(1).numpy(), atol=1e-6)
    np.testing.assert_array_equal(rows, table[ids].numpy())


@pytest.mark.parametrize("axes", [("batch", "seq"), ("tokens",)], ids=["sequences", "rows"])
@pytest.mark.parametrize("dtype", [ir.DataType.FLOAT16, ir.DataType.BFLOAT16], ids=["float16", "bfloat16"])
def test_other_dtypes_than_float32_have_the_portable_form(dtype: ir.DataType, axes: tuple[str, ...]) -> None:
    graph = lowered(product(rows=6, columns=4, axes=axes, dtype=dtype), stored_rows.linear)
    assert operators(graph) == ["MatMul"]
    (stored,) = weights_of(graph).values()
    assert stored.steps == (Transpose(),)
