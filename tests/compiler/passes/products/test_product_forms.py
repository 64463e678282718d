"""Products of 4 bits for few rows and for many: the same weights, one exact answer."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
import torch

from archc.compiler.passes.products.product_forms import MANY_ROWS, choose_product_form
from archc.compiler.weights.quantization import MOST_UNITS, quantize_blocks, row_units
from tests.compiler.graphs import run
from tests.compiler.passes.projections import SIZES, K, filled, projections, tables


def built(bias: bool) -> ir.Model:
    """Both forms of the products, the first perhaps with a bias."""
    graph = projections(4, ["q"] if bias else [])
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
