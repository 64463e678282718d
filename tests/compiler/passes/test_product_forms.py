"""Products of 4 bits for few rows and for many: the same weights, one exact answer."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_ir as ir
import pytest
import torch

from compiler.passes.fold_weights import fold_weights
from compiler.passes.join_products import join_products
from compiler.passes.product_forms import MANY_ROWS, choose_product_form
from compiler.passes.quantize import quantize
from compiler.quantization import MOST_UNITS, quantize_blocks, row_units
from compiler.weights import WeightTensor
from tests.compiler.graphs import model, run, value, weight

FLOAT = ir.DataType.FLOAT
DTYPES = {
    FLOAT: torch.float32, ir.DataType.UINT8: torch.uint8, ir.DataType.INT8: torch.int8,
}  # fmt: skip
K, SIZES = 96, {"q": 24, "k": 8}


def tables() -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    made = {f"{name}.weight": torch.randn(size, K, generator=random) for name, size in SIZES.items()}
    made["q.weight"][2] = 0
    made["q.weight"][3, :32] = 0
    made["q.weight"][4, 40] = 9.0
    return made | {"q.bias": torch.arange(24.0), "k.bias": torch.arange(8.0) / 3}


def quantized(biased: Collection[str] = (), heads: bool = False) -> ir.Model:
    """Two products of one activation, as `--quantize int4` makes them, perhaps cut into heads of eight."""
    x = value("x", FLOAT, "batch", "seq", K)
    nodes, outputs, weights, constants = [], [], [], []
    for name, size in SIZES.items():
        table = weight(f"{name}.weight", size, K)
        turned = ir.Node("", "Transpose", [table], [ir.AttrInt64s("perm", [1, 0])], name=f"{name}.turn")
        product = ir.Node("", "MatMul", [x, turned.outputs[0]], name=f"{name}.product")
        nodes += [turned, product]
        weights.append(table)
        if name in biased:
            weights.append(weight(f"{name}.bias", size))
            nodes.append(ir.Node("", "Add", [product.outputs[0], weights[-1]], name=f"{name}.add"))
        shape = ["batch", "seq", size]
        if heads:
            sizes = ir.tensor(np.array([0, 0, size // 8, -1]), name=f"{name}.sizes")
            constants.append(
                ir.Value(name=sizes.name, shape=sizes.shape, type=ir.TensorType(sizes.dtype), const_value=sizes)
            )
            nodes.append(ir.Node("", "Reshape", [nodes[-1].outputs[0], constants[-1]], name=f"{name}.cut"))
            perm = [ir.AttrInt64s("perm", [0, 2, 1, 3])]
            nodes.append(ir.Node("", "Transpose", [nodes[-1].outputs[0]], perm, name=f"{name}.heads"))
            shape = ["batch", size // 8, "seq", 8]
        outputs.append(nodes[-1].outputs[0])
        outputs[-1].type, outputs[-1].shape = ir.TensorType(FLOAT), ir.Shape(shape)
    graph = model([x], nodes, outputs, [*weights, *constants])
    fold_weights(graph)
    quantize(4)(graph)
    return graph


def filled(graph: ir.Model) -> ir.Model:
    """With the tables' numbers."""
    slots = tables()
    for item in graph.graph.initializers.values():
        if isinstance(item.const_value, WeightTensor):
            parts = item.const_value.by_slot()
            data = torch.cat([rows for part in parts for rows in part.blocks(slots[part.slot], DTYPES[item.dtype])])
            assert list(data.shape) == list(item.shape)
            item.const_value = ir.tensor(data.numpy(), name=item.name)
    return graph


def built(bias: bool) -> ir.Model:
    """Both forms of the products, the first perhaps with a bias."""
    graph = quantized(["q"] if bias else [])
    assert choose_product_form(graph, least=32 * K + 1) == 0
    assert choose_product_form(graph, least=32 * K) == 2
    assert [node.op_type for node in graph.graph] == ["Size", "GreaterOrEqual", "Cast", "Mul", "If"]
    return filled(graph)


def stored(name: str) -> np.ndarray:
    """What the integers and scales of a weight stand for."""
    table = tables()[f"{name}.weight"]
    integers, scales = quantize_blocks(table, 4, 32, units_N1=row_units(table, 4))
    return ((integers.double() - 8) * scales.double().unsqueeze(-1)).flatten(1).numpy()


def test_scales_are_whole_multiples_that_fit_a_byte_and_reach_the_largest_number():
    table = tables()["q.weight"]
    units = row_units(table, 4)
    integers, scales = quantize_blocks(table, 4, 32, units_N1=units)
    counts = scales / torch.where(units == 0, 1.0, units)
    assert torch.allclose(counts, counts.round(), atol=1e-5)
    assert counts.abs().max().round() == MOST_UNITS
    unpacked = (integers.int() - 8) * counts.round().int().unsqueeze(-1)
    assert -128 <= unpacked.min() < unpacked.max() <= 127
    # No scale grows by more than a unit, and nothing is cut off.
    _, free = quantize_blocks(table, 4, 32)
    assert ((scales.abs() - free.abs() <= units * 1.0001) & (scales.abs() >= free.abs() * 0.9999)).all()
    assert (np.abs(stored("q") - table.numpy()) <= scales.abs().repeat_interleave(32, -1).numpy() * 1.0001).all()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(1, MANY_ROWS), (3, 100)])
def test_unpacked_weights_are_exactly_the_packed_ones(bias, shape):
    # Whole numbers up to 255, of which every row has a zero and a largest one: 8 bits hold them exactly.
    x = np.random.default_rng(1).integers(0, 256, (*shape, K)).astype(np.float32)
    x[..., 0], x[..., 1] = 0, 255
    got = run(built(bias), {"x": x})
    for name, result in zip(SIZES, got, strict=True):
        wanted = x @ stored(name).T + (tables()["q.bias"].numpy() if bias and name == "q" else 0)
        assert np.abs(result - wanted).max() < 1e-5 * np.abs(wanted).max()


def test_few_and_many_rows_agree():
    x = np.random.default_rng(2).standard_normal((1, MANY_ROWS, K)).astype(np.float32)
    graph = built(bias=True)
    many, few = run(graph, {"x": x}), run(graph, {"x": x[:, 1:]})
    for one, other in zip(many, few, strict=True):
        off = np.abs(one[:, 1:] - other).max() / np.abs(other).max()
        assert 0 < off < 0.02  # each form rounds activations in its own way


def test_a_row_of_great_magnitude_leaves_the_others_their_digits():
    x = np.random.default_rng(3).standard_normal((1, MANY_ROWS, K)).astype(np.float32)
    x[0, 0] *= 1e4
    x[0, 5] = 0
    _, result = run(built(bias=False), {"x": x})
    wanted = x @ stored("k").T
    assert (np.abs(result - wanted)[0, 1:].max(-1) <= 0.02 * np.abs(wanted)[0, 1:].max(-1)).all()


@pytest.mark.parametrize("biased", [[], ["q", "k"]], ids=["plain", "biases"])
@pytest.mark.parametrize("rows", [1, MANY_ROWS])
def test_products_that_are_cut_into_heads_are_one(biased: list[str], rows: int) -> None:
    x = np.random.default_rng(5).standard_normal((1, rows, K)).astype(np.float32)
    apart, together = quantized(biased, heads=True), quantized(biased, heads=True)
    assert join_products(together) == 2
    assert [node.op_type for node in together.graph] == ["MatMulNBits", "Reshape", "Transpose", "Split"]
    for graph in (apart, together):
        assert choose_product_form(graph, least=32 * K) == (1 if graph is together else 2)
    for one, other in zip(run(filled(together), {"x": x}), run(filled(apart), {"x": x}), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


def test_products_stay_apart_that_one_kernel_cannot_be() -> None:
    assert join_products(quantized(["q"], heads=True)) == 0  # a bias for some of the outputs
    assert join_products(quantized()) == 0  # nothing cuts them into heads
