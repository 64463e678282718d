"""Attention by standard operators: mask, scale and precision are explicit, nothing is implied."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from archc.compiler.lowerings.attention.portable import StandardAttention
from tests.compiler.graphs import operators, run, weight
from tests.compiler.lowerings.attention.problems import FLOAT, FLOAT16, Attention, LatentAttention, fill, lower, only

HEADS = [
    pytest.param(6, 6, id="mha"),
    pytest.param(6, 2, id="gqa"),
    pytest.param(6, 1, id="mqa"),
    pytest.param(1, 1, id="one-head"),
]
LENGTHS = [
    pytest.param(3, 7, id="3-of-7"),
    pytest.param(1, 7, id="1-of-7"),
    pytest.param(5, 5, id="5-of-5"),
]
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "alibi": {"bias": "alibi"},
    "relative-bias": {"bias": "relative"},
    "softcap": {"softcap": 1.5},
    "sinks": {"sinks": True},
    "everything": {"bias": "alibi", "softcap": 1.5, "sinks": True},
}
WRITTEN_OUT = ("softcap", "sinks", "everything")


def standard(problem: Attention) -> ir.Model:
    return lower(problem.model(), Attention=StandardAttention().attention)


def latent(problem: LatentAttention) -> ir.Model:
    shapes = {"k_up": problem.heads * problem.nope, "v_up": problem.heads * problem.value}
    weights = [weight(name, rows, problem.latent) for name, rows in shapes.items()]
    return lower(problem.model(weights), LatentAttention=StandardAttention().latent)


def check_attributes(node: ir.Node, scale: float) -> None:
    """Assert that all that changes a result is said."""
    assert {name: attribute.value for name, attribute in node.attributes.items()} == {
        "scale": pytest.approx(scale),
        "is_causal": 0,
        "softmax_precision": 1,
    }
    assert len(node.inputs) == 4
    assert node.inputs[3] is not None


@pytest.mark.parametrize(("heads", "kv_heads"), HEADS)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize(("seq", "total"), LENGTHS)
def test_equals_the_torch_operator(heads: int, kv_heads: int, options: dict[str, Any], seq: int, total: int) -> None:
    problem = Attention(heads, kv_heads, **options)
    feeds = problem.feeds(seq, total)
    np.testing.assert_allclose(run(standard(problem), feeds)[0], problem.expected(feeds), rtol=0, atol=2e-6)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_float16_equals_the_torch_operator(options: dict[str, Any]) -> None:
    problem = Attention(dtype=FLOAT16, **options)
    feeds = problem.feeds(3, 7)
    result = run(standard(problem), feeds)[0]
    assert result.dtype == np.float16
    np.testing.assert_allclose(result, problem.expected(feeds), rtol=0, atol=5e-3)


@pytest.mark.parametrize("dtype", [FLOAT, FLOAT16], ids=["float32", "float16"])
@pytest.mark.parametrize("bias", ["none", "alibi"])
def test_mask_scale_and_precision_are_explicit(bias: Any, dtype: ir.DataType) -> None:
    model = standard(Attention(bias=bias, dtype=dtype))
    node = only(model, "Attention")
    check_attributes(node, 0.7)
    mask = node.inputs[3]
    assert mask is not None
    # A boolean mask is read as it is; a bias is part of an additive one.
    assert (mask is model.graph.inputs[3]) == (bias == "none")
    assert operators(model) == (["Attention"] if bias == "none" else ["Where", "Attention"])


@pytest.mark.parametrize("options", WRITTEN_OUT)
def test_softcap_and_sinks_are_written_out_in_float32(options: str) -> None:
    model = standard(Attention(dtype=FLOAT16, **OPTIONS[options]))
    assert "Attention" not in operators(model)
    node = only(model, "Softmax")
    producers = {node}
    reached = [node]
    while reached:
        above = {value.producer() for value in reached.pop().inputs if value is not None} - {None} - producers
        producers |= above
        reached += above
    to_float = {n.inputs[0].producer().op_type for n in producers if n.op_type == "Cast" and n.inputs[0].producer()}
    assert to_float == {"MatMul"}, "scores are cast right after their product"


@pytest.mark.parametrize("options", WRITTEN_OUT)
@pytest.mark.parametrize("kv_heads", [6, 2, 1], ids=["mha", "gqa", "mqa"])
def test_values_may_be_narrower_than_keys(options: str, kv_heads: int) -> None:
    problem = Attention(6, kv_heads, value_width=5, **OPTIONS[options])
    feeds = problem.feeds(3, 7)
    np.testing.assert_allclose(run(standard(problem), feeds)[0], problem.expected(feeds), rtol=0, atol=2e-6)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_row_that_attends_to_nothing_stays_a_number(options: dict[str, Any]) -> None:
    problem = Attention(**options)
    assert np.isfinite(run(standard(problem), problem.feeds(3, 7, "nothing"))[0]).all()


@pytest.mark.parametrize("options", OPTIONS)
def test_the_output_keeps_its_name_type_and_shape(options: str) -> None:
    (output,) = standard(Attention(**OPTIONS[options])).graph.outputs
    assert (output.name, output.dtype, str(output.shape)) == ("y.0", FLOAT, "[batch,6,seq,8]")


def test_layers_of_one_mask_and_bias_share_the_additive_mask() -> None:
    problem = Attention(bias="alibi", layers=3)
    model = standard(problem)
    assert operators(model).count("Where") == 1
    feeds = problem.feeds(3, 7)
    np.testing.assert_allclose(run(model, feeds)[0], problem.expected(feeds), rtol=0, atol=4e-6)


@pytest.mark.parametrize("rope", [2, 0], ids=["rotated-key", "latent-alone"])
@pytest.mark.parametrize(("seq", "total"), [(1, 1), (1, 40), (3, 40), (9, 9), (30, 40)])
def test_a_latent_equals_the_torch_operator(rope: int, seq: int, total: int) -> None:
    problem = LatentAttention(rope=rope)
    feeds = problem.feeds(seq, total)
    weights = {name: feeds.pop(name) for name in ("k_up", "v_up")}
    result = run(fill(latent(problem), **weights), feeds)[0]
    np.testing.assert_allclose(result, problem.expected(feeds | weights), rtol=0, atol=1e-5)


def test_a_latent_with_sinks_is_written_out() -> None:
    problem = LatentAttention(sinks=True)
    feeds = problem.feeds(3, 40)
    model = lower(problem.model(), LatentAttention=StandardAttention().latent)
    assert "Attention" not in operators(model)
    np.testing.assert_allclose(run(model, feeds)[0], problem.expected(feeds), rtol=0, atol=1e-5)


def test_a_latent_is_absorbed_into_one_key_value_head() -> None:
    model = latent(LatentAttention(layers=1))
    assert operators(model) == ["MatMul", "Concat", "Attention", "Slice", "MatMul"]
    node = only(model, "Attention")
    check_attributes(node, 0.4)
    query, keys, values, mask = node.inputs
    assert keys is values is model.graph.inputs[2]
    assert mask is model.graph.inputs[3]
    assert query is not None
    assert str(query.shape) == "[batch,3,seq,14]"
    assert {"k_up.unflatten_3", "v_up.unflatten_3.transpose"} <= set(model.graph.initializers)


def test_a_latents_weights_that_are_computed_are_cut_in_the_graph() -> None:
    problem = LatentAttention()
    feeds = problem.feeds(3, 40)
    model = lower(problem.model(), LatentAttention=StandardAttention().latent)
    assert {"Reshape", "Transpose"} <= set(operators(model))
    np.testing.assert_allclose(run(model, feeds)[0], problem.expected(feeds), rtol=0, atol=1e-5)
