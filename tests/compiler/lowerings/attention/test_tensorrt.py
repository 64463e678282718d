"""Attention and rotary positions in the forms that TensorRT builds, compared in ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.lowerings.attention.tensorrt import TensorRtAttention, rotary
from archc.compiler.lowerings.driver import Lower
from archc.compiler.ops import operators as ops
from tests.compiler.graphs import build, operators, run, typed, value, weight
from tests.compiler.lowerings.attention.problems import (
    FLOAT,
    FLOAT16,
    Attention,
    LatentAttention,
    fill,
    lower,
    only,
    sum_by_scan,
)

ITEMS = {"items": np.arange(4, dtype=np.float32)}


def tensorrt(problem: Attention, scan: bool = False) -> ir.Model:
    return lower(problem.model(scan), Attention=TensorRtAttention().attention)


@pytest.mark.parametrize("kv_heads", [6, 2, 1], ids=["mha", "gqa", "mqa"])
@pytest.mark.parametrize("bias", ["none", "alibi", "relative"])
@pytest.mark.parametrize(("width", "padded"), [(4, 16), (10, 16), (20, 24), (260, 264)])
def test_a_padded_head_size_equals_the_torch_operator(width: int, padded: int, bias: Any, kv_heads: int) -> None:
    # Scores of unit variance at most: the rounding of larger ones would be that of the products.
    problem = Attention(6, kv_heads, width, bias=bias, scale=min(0.1, width**-0.5))
    feeds = problem.feeds(3, 7)
    model = tensorrt(problem)
    np.testing.assert_allclose(run(model, feeds)[0], problem.expected(feeds), rtol=0, atol=2e-6)
    pads = [node for node in model.graph if node.op_type == "Pad"]
    amounts = [node.inputs[1].const_value.numpy().tolist() for node in pads]  # type: ignore[union-attr]
    assert amounts == [[0, padded - width]] * 3


def test_values_become_as_wide_as_keys() -> None:
    problem = Attention(2, 2, 24, value_width=16)
    feeds = problem.feeds(3, 7)
    model = tensorrt(problem)
    assert operators(model) == ["Pad", "Attention", "Slice"]
    np.testing.assert_allclose(run(model, feeds)[0], problem.expected(feeds), rtol=0, atol=2e-6)


@pytest.mark.parametrize("width", [16, 24, 64, 128])
def test_a_size_that_kernels_have_stays(width: int) -> None:
    assert operators(tensorrt(Attention(width=width))) == ["Attention"]


@pytest.mark.parametrize("dtype", [FLOAT, FLOAT16], ids=["float32", "float16"])
def test_no_attribute_sets_the_precision_of_the_softmax(dtype: ir.DataType) -> None:
    problem = Attention(width=16, dtype=dtype)
    model = tensorrt(problem)
    node = only(model, "Attention")
    assert {name: attribute.value for name, attribute in node.attributes.items()} == {
        "scale": pytest.approx(0.7),
        "is_causal": 0,
    }
    assert node.inputs[3] is model.graph.inputs[3]


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "alibi": {"bias": "alibi"},
    "relative-bias": {"bias": "relative"},
    "softcap": {"softcap": 1.5},
    "sinks": {"sinks": True},
}


@pytest.mark.parametrize("kv_heads", [6, 2, 1], ids=["mha", "gqa", "mqa"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_next_to_a_scan_attention_is_written_out(options: dict[str, Any], kv_heads: int) -> None:
    problem = Attention(6, kv_heads, 16, **options)
    feeds = problem.feeds(3, 7)
    model = tensorrt(problem, scan=True)
    assert "Attention" not in operators(model)
    assert [output.name for output in model.graph.outputs] == ["y.0", "scanned"]
    y, scanned = run(model, feeds | ITEMS)
    np.testing.assert_allclose(y, problem.expected(feeds), rtol=0, atol=2e-6)
    assert scanned == 6


@pytest.mark.parametrize("options", ["softcap", "sinks"])
def test_softcap_and_sinks_are_written_out_without_a_scan_as_well(options: str) -> None:
    problem = Attention(width=16, **OPTIONS[options])
    feeds = problem.feeds(3, 7)
    model = tensorrt(problem)
    assert "Attention" not in operators(model)
    np.testing.assert_allclose(run(model, feeds)[0], problem.expected(feeds), rtol=0, atol=2e-6)


@pytest.mark.parametrize(("dtype", "casts"), [(FLOAT, []), (FLOAT16, [FLOAT, FLOAT16])], ids=["float32", "float16"])
def test_next_to_a_scan_the_softmax_is_in_float32(dtype: ir.DataType, casts: list[ir.DataType]) -> None:
    problem = Attention(width=16, dtype=dtype)
    model = tensorrt(problem, scan=True)
    assert [node.attributes["to"].as_int() for node in model.graph if node.op_type == "Cast"] == casts
    assert only(model, "Softmax").inputs[0].producer().inputs[1].dtype == FLOAT  # type: ignore[union-attr]
    feeds = problem.feeds(3, 7)
    np.testing.assert_allclose(run(model, feeds | ITEMS)[0], problem.expected(feeds), rtol=0, atol=5e-3)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_next_to_a_scan_a_row_that_attends_to_nothing_stays_a_number(options: dict[str, Any]) -> None:
    problem = Attention(width=16, **options)
    feeds = problem.feeds(3, 7, "nothing") | ITEMS
    assert np.isfinite(run(tensorrt(problem, scan=True), feeds)[0]).all()


def test_next_to_a_scan_layers_share_the_additive_mask() -> None:
    problem = Attention(width=16, layers=2)
    model = tensorrt(problem, scan=True)
    assert operators(model).count("Where") == 1
    feeds = problem.feeds(3, 7)
    np.testing.assert_allclose(run(model, feeds | ITEMS)[0], problem.expected(feeds), rtol=0, atol=4e-6)


@pytest.mark.parametrize("latent", [12, 14], ids=["padded", "of-a-size-that-kernels-have"])
def test_a_latent_equals_the_torch_operator(latent: int) -> None:
    problem = LatentAttention(latent=latent)
    feeds = problem.feeds(3, 40)
    weights = {name: feeds.pop(name) for name in ("k_up", "v_up")}
    initializers = [weight(name, *array.shape) for name, array in weights.items()]
    model = lower(problem.model(initializers), LatentAttention=TensorRtAttention().latent)
    assert operators(model).count("Attention") == 2
    assert ("Pad" in operators(model)) == (latent == 12)
    result = run(fill(model, **weights), feeds)[0]
    np.testing.assert_allclose(result, problem.expected(feeds | weights), rtol=0, atol=1e-5)


def rotation(rotated: int, width: int, interleaved: int, next_to_scan: bool) -> ir.Model:
    x = value("x", FLOAT, "batch", 3, "seq", width)
    tables = [value(name, FLOAT, "batch", "seq", rotated // 2) for name in ("cos", "sin")]
    items = value("items", FLOAT, 4)
    partial = 0 if rotated == width else rotated

    def make(op: GraphBuilder) -> list[ir.Value]:
        y = op.RotaryEmbedding(x, *tables, interleaved=interleaved, rotary_embedding_dim=partial)
        typed(y, "y", FLOAT, "batch", 3, "seq", width)
        return [y, *([sum_by_scan(op, items)] if next_to_scan else [])]

    return build([x, *tables, *([items] if next_to_scan else [])], make)


@pytest.mark.parametrize(("rotated", "width"), [(8, 8), (6, 8)], ids=["whole-head", "part-of-a-head"])
def test_next_to_a_scan_an_interleaved_rotation_is_one_by_halves(rotated: int, width: int) -> None:
    random = np.random.default_rng(0)
    shapes = {"x": (2, 3, 5, width), "cos": (2, 5, rotated // 2), "sin": (2, 5, rotated // 2)}
    feeds = {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    expected = ops.rotary(*map(torch.from_numpy, feeds.values()), True)
    model = rotation(rotated, width, 1, next_to_scan=True)
    np.testing.assert_allclose(run(model, feeds | ITEMS)[0], expected, rtol=0, atol=1e-6)
    assert Lower({}, {"RotaryEmbedding": rotary})(model).modified
    assert only(model, "RotaryEmbedding").attributes.get_int("interleaved") == 0
    y, scanned = run(model, feeds | ITEMS)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-6)
    assert scanned == 6


@pytest.mark.parametrize(
    ("interleaved", "next_to_scan"),
    [pytest.param(1, False, id="interleaved-alone"), pytest.param(0, True, id="by-halves-next-to-a-scan")],
)
def test_a_rotation_that_builds_stays(interleaved: int, next_to_scan: bool) -> None:
    model = rotation(8, 8, interleaved, next_to_scan)
    before = operators(model)
    assert not Lower({}, {"RotaryEmbedding": rotary})(model).modified
    assert operators(model) == before
