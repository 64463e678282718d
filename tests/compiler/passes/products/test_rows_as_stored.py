"""Products that read matrices a row for each output."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
import torch

from archc.compiler.passes.products.fold_weights import fold_weights
from archc.compiler.passes.products.rows_as_stored import rows_as_stored
from archc.compiler.weights.lazy import Transposed, WeightTensor
from tests.compiler.graphs import constant, model, operators, run, value, weight

FLOAT = ir.DataType.FLOAT
TABLE = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


def graph(dtype: ir.DataType = FLOAT, shared: bool = False) -> ir.Model:
    """A product with a matrix [6, 4], transposed; `shared` looks up rows of it as well."""
    x, table = value("x", dtype, "batch", "seq", 4), weight("table", 6, 4, dtype=dtype)
    turned = ir.Node("", "Transpose", [table], [ir.AttrInt64s("perm", [1, 0])], name="turn")
    product = ir.Node("", "MatMul", [x, turned.outputs[0]], name="product")
    inputs, nodes, outputs = [x], [turned, product], [product.outputs[0]]
    if shared:
        inputs.append(value("ids", ir.DataType.INT64, "rows"))
        nodes.append(ir.Node("", "Gather", [table, inputs[1]], name="look"))
        outputs.append(nodes[-1].outputs[0])
    for output in outputs:
        output.type = ir.TensorType(dtype)
    made = model(inputs, nodes, outputs, [table])
    fold_weights(made)
    return made


def filled(made: ir.Model) -> ir.Model:
    for item in made.graph.initializers.values():
        if not isinstance(item.const_value, WeightTensor):
            continue
        data = torch.cat(list(item.const_value.blocks(TABLE, torch.float32)))
        item.const_value = ir.tensor(data.numpy(), name=item.name)
    return made


def test_the_matrix_is_stored_as_it_is_and_the_product_the_same() -> None:
    before, after = graph(), graph()
    assert rows_as_stored(after) == 1
    assert operators(after) == ["FusedMatMul"]
    (stored,) = after.graph.initializers.values()
    assert (stored.name, list(stored.shape)) == ("table", [6, 4])
    assert stored.const_value.steps == ()
    filled(before)
    filled(after)
    for shape in ((2, 3, 4), (1, 1, 4), (2, 0, 4)):
        x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
        (one,), (other,) = run(before, {"x": x}), run(after, {"x": x})
        np.testing.assert_allclose(one, other, atol=1e-6)
        assert other.shape == (*shape[:2], 6)


def test_a_table_that_is_looked_up_too_is_stored_once() -> None:
    made = graph(shared=True)
    assert rows_as_stored(made) == 1
    assert list(made.graph.initializers) == ["table"]
    x, ids = np.ones((1, 1, 4), np.float32), np.array([5, 0])
    product, rows = run(filled(made), {"x": x, "ids": ids})
    np.testing.assert_allclose(product[0, 0], TABLE.sum(1).numpy(), atol=1e-6)
    np.testing.assert_array_equal(rows, TABLE[ids].numpy())


@pytest.mark.parametrize("dtype", [ir.DataType.FLOAT16, ir.DataType.BFLOAT16])
def test_what_the_kernel_does_not_take_stays(dtype: ir.DataType) -> None:
    made = graph(dtype)
    assert rows_as_stored(made) == 0
    assert operators(made) == ["MatMul"]
    (stored,) = made.graph.initializers.values()
    assert stored.const_value.steps == (Transposed(),)


@pytest.mark.parametrize("biased", [False, True])
def test_rows_of_two_axes_take_the_operator_that_adds_a_bias(biased: bool) -> None:
    x, table, bias = value("x", FLOAT, "tokens", 4), weight("table", 6, 4), constant("bias", np.arange(6, dtype="f4"))
    turned = ir.Node("", "Transpose", [table], [ir.AttrInt64s("perm", [1, 0])], name="turn")
    nodes = [turned, ir.Node("", "MatMul", [x, turned.outputs[0]], name="product")]
    if biased:
        nodes.append(ir.Node("", "Add", [bias, nodes[-1].outputs[0]], name="add"))
    nodes[-1].outputs[0].type, nodes[-1].outputs[0].shape = ir.TensorType(FLOAT), ir.Shape(["tokens", 6])
    made = model([x], nodes, nodes[-1].outputs, [table, bias])
    fold_weights(made)
    assert rows_as_stored(made) == 1
    assert operators(made) == ["Gemm"]
    filled(made)
    for count in (3, 1, 0):
        rows = np.random.default_rng(2).standard_normal((count, 4)).astype(np.float32)
        (got,) = run(made, {"x": rows})
        np.testing.assert_allclose(got, rows @ TABLE.numpy().T + biased * np.arange(6), atol=1e-5)
