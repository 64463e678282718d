from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from compiler.passes.added_masks import add_masks
from tests.compiler.graphs import attention, attention_feeds, operators, run


def with_loop(mask: ir.DataType) -> ir.Model:
    """An attention beside a Scan that doubles the rows of its queries."""
    model = attention(6, 2, 16, 0.7, mask)
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


def test_a_mask_to_add_says_the_same() -> None:
    feeds = attention_feeds(6, 2, 16, ir.DataType.BOOL)
    wanted = run(with_loop(ir.DataType.BOOL), feeds)
    changed = with_loop(ir.DataType.BOOL)
    assert add_masks(changed) == 1
    assert operators(changed) == ["Where", "Attention", "Scan"]
    for got, expected in zip(run(changed, feeds), wanted, strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=2e-6)


def test_a_row_that_sees_nothing_stays_a_number() -> None:
    feeds = dict(attention_feeds(6, 2, 16, ir.DataType.BOOL))
    feeds["mask"] = np.zeros_like(feeds["mask"])
    changed = with_loop(ir.DataType.BOOL)
    add_masks(changed)
    assert np.isfinite(run(changed, feeds)[0]).all()


@pytest.mark.parametrize("mask", [ir.DataType.BOOL, ir.DataType.FLOAT])
def test_nothing_else_changes(mask: ir.DataType) -> None:
    kept = attention(6, 2, 16, 0.7, mask) if mask == ir.DataType.BOOL else with_loop(mask)
    before = operators(kept)
    assert add_masks(kept) == 0
    assert operators(kept) == before
