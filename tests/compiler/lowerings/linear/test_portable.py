"""Products with float weights by standard operators, next to the torch operator."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
import torch

from archc.compiler.lowerings.linear import portable
from archc.compiler.weights.steps import Transpose
from tests.compiler.graphs import filled, model, operators, run, semantic, value, weight, weights_of
from tests.compiler.lowerings.linear.cases import FLOAT, INT64, expected, lookup, lowered, normal, product, stack, tied

BIASED = pytest.mark.parametrize("biased", [False, True], ids=["plain", "bias"])


@BIASED
@pytest.mark.parametrize("shape", [(2, 3, 4), (1, 1, 4), (2, 0, 4)], ids=["many", "one", "no-positions"])
def test_a_product_is_the_torch_operator_s(shape: tuple[int, ...], biased: bool) -> None:
    graph = lowered(product(rows=6, columns=4, biased=biased), portable.linear)
    assert operators(graph) == ["MatMul", *["Add"] * biased]
    assert list(graph.graph.opset_imports) == [""]
    slots = {"w": normal(6, 4), "w.bias": torch.arange(6.0)}
    x = normal(*shape, seed=1).numpy()
    (y,) = run(filled(graph, slots), {"x": x})
    np.testing.assert_allclose(y, expected(x, slots["w"], slots["w.bias"] if biased else None), atol=1e-6)
    assert y.shape == (*shape[:2], 6)


@pytest.mark.parametrize("dtype", [FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16], ids=lambda dtype: dtype.name)
def test_a_weight_is_stored_transposed(dtype: ir.DataType) -> None:
    graph = lowered(product("layers.0.q.weight", 6, 4, dtype=dtype), portable.linear)
    assert operators(graph) == ["MatMul"]
    (stored,) = weights_of(graph).values()
    assert (stored.slot, stored.steps, stored.dtype) == ("layers.0.q.weight", (Transpose(),), dtype)
    assert list(stored.shape) == [4, 6]
    numbers = torch.arange(24.0).reshape(6, 4)
    assert torch.equal(torch.cat(list(stored.blocks(numbers, torch.float32))), numbers.t())


def test_two_products_of_one_weight_share_its_stored_form() -> None:
    table, inputs = weight("shared.weight", 6, 4), [value(name, FLOAT, "batch", "seq", 4) for name in "ab"]
    nodes = [semantic("Linear", [x, table], f"{x.name}.y", ["batch", "seq", 6]) for x in inputs]
    graph = lowered(model(inputs, nodes, [node.outputs[0] for node in nodes], [table]), portable.linear)
    assert operators(graph) == ["MatMul", "MatMul"]
    assert list(weights_of(graph)) == ["shared.weight.transpose"]


@BIASED
@pytest.mark.parametrize("axes", [("batch", "seq"), ("rows",)], ids=["sequences", "rows"])
def test_a_table_that_is_looked_up_too_is_stored_once(axes: tuple[str, ...], biased: bool) -> None:
    graph = lowered(tied(6, 4, axes=axes, biased=biased), portable.linear)
    assert list(weights_of(graph)) == ["embedding.tokens.weight", *["head.bias"] * biased]
    assert "MatMul" not in operators(graph)
    table, bias = normal(6, 4), torch.arange(6.0)
    filled(graph, {"embedding.tokens.weight": table, "head.bias": bias})
    ids = np.array([[5, 0, 3]])
    for positions in (3, 1, 0):
        x = normal(*[2] * (len(axes) - 1), positions, 4, seed=1).numpy()
        rows, logits = run(graph, {"ids": ids, "x": x})
        np.testing.assert_array_equal(rows, table[ids].numpy())
        np.testing.assert_allclose(logits, expected(x, table, bias if biased else None), atol=1e-6)
        assert logits.shape == (*x.shape[:-1], 6)


def test_a_gather_along_columns_is_no_lookup() -> None:
    table, x, ids = weight("w", 6, 4), value("x", FLOAT, "batch", "seq", 4), value("ids", INT64, "n")
    columns = lookup(table, ids, "columns", [6, "n"], axis=1)
    linear = semantic("Linear", [x, table], "y", ["batch", "seq", 6])
    graph = lowered(model([x, ids], [columns, linear], [*columns.outputs, *linear.outputs], [table]), portable.linear)
    assert operators(graph) == ["Gather", "MatMul"]
    assert sorted(weights_of(graph)) == ["w", "w.transpose"]


def test_a_stack_of_matrices_is_stored_with_each_one_transposed() -> None:
    graph = lowered(stack(3, 6, 4), portable.linear)
    assert operators(graph) == ["MatMul"]
    (stored,) = weights_of(graph).values()
    assert list(stored.shape) == [3, 4, 6]
    slots = {f"experts.{index}.up": normal(6, 4, seed=index) for index in range(3)}
    x = normal(1, 5, 4, seed=9).numpy()
    (y,) = run(filled(graph, slots), {"x": x})
    np.testing.assert_allclose(y, np.stack([expected(x[0], table) for table in slots.values()]), atol=1e-6)


@pytest.mark.parametrize("shape", [(6, 4), (3, 6, 4)], ids=["matrix", "stack"])
def test_a_computed_weight_is_transposed_in_the_graph(shape: tuple[int, ...]) -> None:
    x, table = value("x", FLOAT, 1, "seq", 4), value("w", FLOAT, *shape)
    linear = semantic("Linear", [x, table], "y", [*(shape[:-2] or (1,)), "seq", 6])
    graph = lowered(model([x, table], [linear], linear.outputs), portable.linear)
    assert operators(graph) == ["Transpose", "MatMul"]
    numbers, rows = normal(*shape), normal(1, 5, 4, seed=1)
    (y,) = run(graph, {"x": rows.numpy(), "w": numbers.numpy()})
    np.testing.assert_allclose(y, (rows @ numbers.transpose(-1, -2)).numpy(), atol=1e-6)
