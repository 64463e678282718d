from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from archc.compiler.passes.attention.pad_heads import pad_heads
from tests.compiler.graphs import attention, attention_feeds, model, operators, run, value


@pytest.mark.parametrize(("width", "padded"), [(4, 16), (10, 16), (20, 24), (260, 264)])
def test_equals_the_attention_node_at_a_size_that_kernels_have(width: int, padded: int) -> None:
    feeds = attention_feeds(6, 2, width, ir.DataType.BOOL)
    wanted = run(attention(6, 2, width, 0.7, ir.DataType.BOOL), feeds)[0]
    changed = attention(6, 2, width, 0.7, ir.DataType.BOOL)
    assert pad_heads(changed) == 1
    np.testing.assert_allclose(run(changed, feeds)[0], wanted, rtol=0, atol=2e-6)
    pads = [node for node in changed.graph if node.op_type == "Pad"]
    amounts = [node.inputs[1].const_value.numpy().tolist() for node in pads]  # type: ignore[union-attr]
    assert amounts == [[0, padded - width]] * 3


def test_values_become_as_wide_as_keys() -> None:
    def narrow() -> ir.Model:
        (node,) = attention(2, 2, 24, 0.7, ir.DataType.BOOL).graph
        inputs = [
            value("q", ir.DataType.FLOAT, "batch", 2, "seq", 24),
            value("k", ir.DataType.FLOAT, "batch", 2, "total", 24),
            value("v", ir.DataType.FLOAT, "batch", 2, "total", 16),
            value("mask", ir.DataType.BOOL, "batch", 1, "seq", "total"),
        ]
        new = ir.Node("", "Attention", inputs, node.attributes.values(), num_outputs=1, name="attention")
        new.outputs[0].name, new.outputs[0].type = "y", ir.TensorType(ir.DataType.FLOAT)
        new.outputs[0].shape = ir.Shape(["batch", 2, "seq", 16])
        return model(inputs, [new], [new.outputs[0]])

    feeds = dict(attention_feeds(2, 2, 24, ir.DataType.BOOL))
    feeds["v"] = feeds["v"][..., :16].copy()
    wanted = run(narrow(), feeds)[0]
    changed = narrow()
    assert pad_heads(changed) == 1
    assert operators(changed) == ["Pad", "Attention", "Slice"]
    np.testing.assert_allclose(run(changed, feeds)[0], wanted, rtol=0, atol=2e-6)


@pytest.mark.parametrize("width", [16, 24, 64, 128])
def test_a_size_that_kernels_have_stays(width: int) -> None:
    kept = attention(6, 2, width, 0.7, ir.DataType.BOOL)
    assert pad_heads(kept) == 0
    assert operators(kept) == ["Attention"]
