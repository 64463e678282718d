"""Attention on ONNX Runtime's CPU provider: query heads are rows of their key/value head's products."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from archc.compiler.lowerings.attention.blocks import QueryBlocks
from archc.compiler.lowerings.attention.caches import FloatCaches
from archc.compiler.lowerings.attention.grouped import GroupedAttention
from archc.compiler.lowerings.attention.masks import AdditiveMasks
from archc.compiler.lowerings.driver import Lower
from tests.compiler.graphs import operators, run
from tests.compiler.lowerings.attention.problems import FLOAT, FLOAT16, Attention, PlainForm, lower

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
OPTIONS = {
    "plain": {},
    "alibi": {"bias": "alibi"},
    "relative-bias": {"bias": "relative"},
    "softcap": {"softcap": 1.5},
    "sinks": {"sinks": True},
    "everything": {"bias": "alibi", "softcap": 1.5, "sinks": True},
}


def grouped(problem: Attention) -> ir.Model:
    return lower(problem.model(), Attention=GroupedAttention(FloatCaches(), PlainForm(), AdditiveMasks()))


@pytest.mark.parametrize(("heads", "kv_heads"), HEADS)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize(("seq", "total"), LENGTHS)
def test_equals_the_torch_operator(heads: int, kv_heads: int, options: dict[str, object], seq: int, total: int) -> None:
    problem = Attention(heads, kv_heads, **options)
    feeds = problem.feeds(seq, total)
    np.testing.assert_allclose(run(grouped(problem), feeds)[0], problem.expected(feeds), rtol=0, atol=2e-6)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_float16_equals_the_torch_operator(options: dict[str, object]) -> None:
    problem = Attention(dtype=FLOAT16, **options)
    feeds = problem.feeds(3, 7)
    result = run(grouped(problem), feeds)[0]
    assert result.dtype == np.float16
    np.testing.assert_allclose(result, problem.expected(feeds), rtol=0, atol=5e-3)


@pytest.mark.parametrize("kv_heads", [6, 2, 1], ids=["mha", "gqa", "mqa"])
def test_values_may_be_narrower_than_keys(kv_heads: int) -> None:
    problem = Attention(6, kv_heads, value_width=5)
    feeds = problem.feeds(3, 7)
    np.testing.assert_allclose(run(grouped(problem), feeds)[0], problem.expected(feeds), rtol=0, atol=2e-6)


def test_keys_are_not_repeated() -> None:
    assert not {"Expand", "Tile", "Concat", "Gather"} & set(operators(grouped(Attention())))


def test_heads_of_their_own_need_no_reshape() -> None:
    assert operators(grouped(Attention(6, 6))) == ["Where", "FusedMatMul", "Add", "Softmax", "MatMul"]


@pytest.mark.parametrize(
    ("options", "casts"),
    [
        pytest.param({}, [], id="plain"),
        pytest.param({"softcap": 1.5}, [FLOAT, FLOAT16], id="softcap"),
        pytest.param({"sinks": True}, [FLOAT, FLOAT, FLOAT16], id="sinks"),
    ],
)
def test_capped_scores_and_sinks_of_float16_are_in_float32(
    options: dict[str, object], casts: list[ir.DataType]
) -> None:
    nodes = [node for node in grouped(Attention(dtype=FLOAT16, **options)).graph if node.op_type == "Cast"]
    assert [node.attributes["to"].as_int() for node in nodes] == casts


def test_the_output_keeps_its_name_type_and_shape() -> None:
    model = grouped(Attention())
    (output,) = model.graph.outputs
    assert (output.name, output.dtype, str(output.shape)) == ("y.0", FLOAT, "[batch,6,seq,8]")


def test_a_graph_without_attention_stays() -> None:
    model = grouped(Attention())
    before = operators(model)
    attention = GroupedAttention(FloatCaches(), QueryBlocks(), AdditiveMasks())
    assert not Lower({"Attention": attention})(model).modified
    assert operators(model) == before


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_row_that_attends_to_nothing_stays_a_number(options: dict[str, object]) -> None:
    problem = Attention(**options)
    assert np.isfinite(run(grouped(problem), problem.feeds(3, 7, "nothing"))[0]).all()


def test_layers_of_one_mask_and_bias_share_the_additive_mask() -> None:
    problem = Attention(bias="alibi", layers=3)
    model = grouped(problem)
    assert operators(model).count("Where") == 1
    feeds = problem.feeds(3, 7)
    np.testing.assert_allclose(run(model, feeds)[0], problem.expected(feeds), rtol=0, atol=4e-6)
