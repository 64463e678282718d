from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from archc.compiler.passes.attention.primitive_attention import primitive_attention
from tests.compiler.graphs import attention, attention_feeds, operators, run


def with_loop(mask: ir.DataType, kv_heads: int = 2) -> ir.Model:
    """An attention beside a Scan that doubles the rows of its queries."""
    model = attention(6, kv_heads, 16, 0.7, mask)
    row = ir.Value(name="row", shape=ir.Shape([None] * 3), type=ir.TensorType(ir.DataType.FLOAT))
    double = ir.Node("", "Add", [row, row], name="double")
    double.outputs[0].name, double.outputs[0].type = "doubled", row.type
    double.outputs[0].shape = ir.Shape([None] * 3)
    body = ir.Graph([row], double.outputs, nodes=[double], name="body")
    attributes = [ir.AttrGraph("body", body), ir.AttrInt64("num_scan_inputs", 1)]
    loop = ir.Node("", "Scan", [model.graph.inputs[0]], attributes, name="loop")
    loop.outputs[0].name, loop.outputs[0].type = "z", row.type
    loop.outputs[0].shape = ir.Shape([None] * 4)
    model.graph.append(loop)
    model.graph.outputs.append(loop.outputs[0])
    return model


@pytest.mark.parametrize("kv_heads", [6, 2, 1])
@pytest.mark.parametrize("mask", [ir.DataType.BOOL, ir.DataType.FLOAT], ids=["bool", "alibi"])
def test_it_says_the_same(mask: ir.DataType, kv_heads: int) -> None:
    feeds = attention_feeds(6, kv_heads, 16, mask)
    wanted = run(with_loop(mask, kv_heads), feeds)
    changed = with_loop(mask, kv_heads)
    assert primitive_attention(changed) == 1
    assert "Attention" not in operators(changed)
    assert [output.name for output in changed.graph.outputs] == ["y", "z"]
    for got, expected in zip(run(changed, feeds), wanted, strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_the_softmax_is_in_float32(dtype: type) -> None:
    changed = with_loop(ir.DataType.BOOL)
    kind = ir.DataType.from_numpy(np.dtype(dtype))
    for item in changed.graph.inputs[:3]:
        item.type = ir.TensorType(kind)
    primitive_attention(changed)
    casts = [node.attributes["to"].as_int() for node in changed.graph if node.op_type == "Cast"]
    assert casts == ([] if dtype == np.float32 else [ir.DataType.FLOAT, kind])


def test_a_row_that_sees_nothing_stays_a_number() -> None:
    feeds = dict(attention_feeds(6, 2, 16, ir.DataType.BOOL))
    feeds["mask"] = np.zeros_like(feeds["mask"])
    changed = with_loop(ir.DataType.BOOL)
    primitive_attention(changed)
    assert np.isfinite(run(changed, feeds)[0]).all()


def test_without_a_loop_it_stays() -> None:
    kept = attention(6, 2, 16, 0.7, ir.DataType.BOOL)
    assert primitive_attention(kept) == 0
    assert operators(kept) == ["Attention"]
