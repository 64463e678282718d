from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from archc.compiler.ops.operators import ATTENTION_METADATA
from archc.compiler.passes.attention.grouped_attention import group_attention
from tests.compiler.graphs import attention, attention_feeds, operators, run

HEADS = [
    pytest.param(6, 6, id="mha"),
    pytest.param(6, 2, id="gqa"),
    pytest.param(6, 1, id="mqa"),
    pytest.param(1, 1, id="one"),
]


@pytest.mark.parametrize(("heads", "kv_heads"), HEADS)
@pytest.mark.parametrize("mask", [ir.DataType.BOOL, ir.DataType.FLOAT], ids=["bool", "alibi"])
@pytest.mark.parametrize(("seq", "total"), [(3, 7), (1, 7), (5, 5)])
def test_equals_the_attention_node(heads: int, kv_heads: int, mask: ir.DataType, seq: int, total: int) -> None:
    feeds = attention_feeds(heads, kv_heads, 8, mask, seq, total)
    wanted = run(attention(heads, kv_heads, 8, 0.7, mask), feeds)[0]
    model = attention(heads, kv_heads, 8, 0.7, mask)
    assert group_attention(model) == 1
    assert "Attention" not in operators(model)
    np.testing.assert_allclose(run(model, feeds)[0], wanted, rtol=0, atol=2e-6)


def test_keys_are_not_repeated() -> None:
    model = attention(6, 2, 8, 0.7, ir.DataType.BOOL)
    group_attention(model)
    assert not {"Expand", "Tile", "Concat", "Gather"} & set(operators(model))


def test_the_output_keeps_its_name_and_its_description() -> None:
    model = attention(6, 2, 8, 0.7, ir.DataType.BOOL)
    description = next(iter(model.graph)).metadata_props[ATTENTION_METADATA]
    group_attention(model)
    assert [output.name for output in model.graph.outputs] == ["y"]
    assert {node.metadata_props[ATTENTION_METADATA] for node in model.graph} == {description}


def test_a_graph_without_attention_stays() -> None:
    model = attention(6, 2, 8, 0.7, ir.DataType.BOOL)
    group_attention(model)
    before = operators(model)
    assert group_attention(model) == 0
    assert operators(model) == before


def test_a_row_that_sees_nothing_stays_a_number() -> None:
    feeds = dict(attention_feeds(6, 2, 8, ir.DataType.BOOL))
    feeds["mask"] = np.zeros_like(feeds["mask"])
    model = attention(6, 2, 8, 0.7, ir.DataType.BOOL)
    group_attention(model)
    assert np.isfinite(run(model, feeds)[0]).all()
