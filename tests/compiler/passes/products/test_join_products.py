"""Projections of one activation into heads as one product."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from archc.compiler.build import build
from archc.compiler.passes.products.join_products import join_products
from archc.compiler.passes.products.product_forms import MANY_ROWS, choose_product_form
from archc.runtime.engine import load
from tests.compiler.graphs import operators, run
from tests.compiler.passes.projections import K, filled, projections


@pytest.mark.parametrize("biased", [[], ["q", "k"]], ids=["plain", "biases"])
@pytest.mark.parametrize("rows", [1, MANY_ROWS])
def test_products_that_are_cut_into_heads_are_one(biased: list[str], rows: int) -> None:
    x = np.random.default_rng(5).standard_normal((1, rows, K)).astype(np.float32)
    apart, together = projections(4, biased, heads=True), projections(4, biased, heads=True)
    assert join_products(together) == 2
    assert operators(together) == ["MatMulNBits", "Reshape", "Transpose", "Split"]
    for graph in (apart, together):
        assert choose_product_form(graph, least=32 * K) == (1 if graph is together else 2)
    for one, other in zip(run(filled(together), {"x": x}), run(filled(apart), {"x": x}), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


@pytest.mark.parametrize("biased", [[], ["q", "k"]], ids=["plain", "biases"])
def test_products_of_float32_are_one_with_one_bias(biased: list[str]) -> None:
    x = np.random.default_rng(6).standard_normal((2, 3, K)).astype(np.float32)
    apart, together = projections(None, biased, heads=True), projections(None, biased, heads=True)
    assert join_products(together) == 2
    assert operators(together) == ["FusedMatMul", *["Add"] * bool(biased), "Reshape", "Transpose", "Split"]
    assert join_products(together) == 0
    for one, other in zip(run(filled(together), {"x": x}), run(filled(apart), {"x": x}), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


@pytest.mark.parametrize("biased", [[], ["q", "k"]], ids=["plain", "biases"])
def test_columns_of_8_bits_lie_side_by_side(biased: list[str]) -> None:
    x = np.random.default_rng(7).standard_normal((2, 3, K)).astype(np.float32)
    apart, together = (projections(8, biased, heads=True, even=True) for _ in range(2))
    assert join_products(together) == 2
    assert operators(together) == ["RMSNormalization", "DynamicQuantizeMatMul", "Reshape", "Transpose", "Split"]
    for one, other in zip(run(filled(together), {"x": x}), run(filled(apart), {"x": x}), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


@pytest.mark.parametrize("bits", [None, 4, 8])
def test_products_stay_apart_that_one_cannot_be(bits: None) -> None:
    assert join_products(projections(bits, ["q"], heads=True)) == 0  # a bias for some of the outputs
    assert join_products(projections(bits)) == 0  # nothing cuts them into heads


def test_a_matrix_that_is_looked_up_too_is_not_stored_twice() -> None:
    assert join_products(projections(None, heads=True, shared=True)) == 0


SHARED = """
family: tiny
extends: albert
sizes:
  tiny:
    {vocab_size: 64, embedding_size: 16, hidden_size: 32, intermediate_size: 48, num_hidden_layers: 3,
     num_attention_heads: 2, max_position_embeddings: 32, type_vocab_size: 2, hidden_act: gelu}
"""


@pytest.mark.parametrize("quantize", [None, "int8", "int4"])
def test_layers_that_share_weights_share_joined_ones(quantize: str | None, tmp_path: Path) -> None:
    spec = tmp_path / "tiny.yaml"
    spec.write_text(SHARED)
    engine = load(build(spec, random=3, size="tiny", out=tmp_path / "p.plan", quantize=quantize), threads=1)
    joined = [tensor.name for tensor in engine.manifest.tensors if "q+k+v.weight" in tensor.name]
    # Integers and scales; in int8 the first layer, which reads no norm, keeps its projections apart, and so all do.
    assert len(joined) == {None: 1, "int8": 0, "int4": 2}[quantize]
    rows = [[5, 9, 2, 7]]
    plain = load(build(spec, random=3, size="tiny", out=tmp_path / "q.plan"), threads=1)
    for got, wanted in ((engine.encode(rows), plain.encode(rows)), (engine.logits(rows), plain.logits(rows))):
        assert np.abs(got - wanted).max() < {None: 1e-6, "int8": 0.05, "int4": 0.6}[quantize] * np.abs(wanted).max()
