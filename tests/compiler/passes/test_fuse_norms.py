from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from archc.compiler.passes.fuse_norms import fuse_norms
from tests.compiler.graphs import constant, model, operators, run, value

FLOAT = ir.DataType.FLOAT
WIDTH = 12


def stream(name: str, source: ir.Value) -> ir.Node:
    """Something that is computed, of the shape of a residual stream."""
    node = ir.Node("", "Neg", [source], name=name)
    node.outputs[0].type, node.outputs[0].shape = ir.TensorType(FLOAT), ir.Shape(["batch", "seq", WIDTH])
    return node


def summed(op_type: str, other: ir.Value | None = None, dtype: ir.DataType = FLOAT) -> ir.Model:
    """−x + −y, its norm, and the sum again as an output."""
    x, y = value("x", dtype, "batch", "seq", WIDTH), value("y", dtype, "batch", "seq", WIDTH)
    left, right = stream("left", x), stream("right", y)
    for node in (left, right):
        node.outputs[0].type = ir.TensorType(dtype)
    total = ir.Node("", "Add", [left.outputs[0], other or right.outputs[0]], name="sum")
    random = np.random.default_rng(0)
    scale = constant("scale", random.standard_normal(WIDTH).astype(np.float32))
    bias = constant("bias", random.standard_normal(WIDTH).astype(np.float32))
    inputs = [total.outputs[0], scale] + ([bias] if op_type == "LayerNormalization" else [])
    norm = ir.Node("", op_type, inputs, [ir.AttrFloat32("epsilon", 0.05), ir.AttrInt64("axis", -1)], name="norm")
    after = ir.Node("", "Add", [norm.outputs[0], total.outputs[0]], name="after")
    for node in (total, norm, after):
        node.outputs[0].type, node.outputs[0].shape = ir.TensorType(dtype), ir.Shape(["batch", "seq", WIDTH])
    initializers = [scale, bias] if op_type == "LayerNormalization" else [scale]
    initializers += [other] if other is not None else []
    return model([x, y], [left, right, total, norm, after], [after.outputs[0]], initializers)


@pytest.mark.parametrize("op_type", ["RMSNormalization", "LayerNormalization"])
def test_the_sum_and_its_norm_become_one_node_and_give_the_same(op_type):
    random = np.random.default_rng(1)
    feeds = {name: random.standard_normal((2, 5, WIDTH)).astype(np.float32) for name in "xy"}
    wanted = run(summed(op_type), feeds)[0]
    fused = summed(op_type)
    assert fuse_norms(fused) == 1
    assert op_type not in operators(fused)
    assert operators(fused).count("Add") == 1
    np.testing.assert_allclose(run(fused, feeds)[0], wanted, atol=1e-5)


def test_a_constant_and_other_dtypes_stay_as_they_are():
    assert fuse_norms(summed("RMSNormalization", constant("c", np.ones((1, 1, WIDTH), np.float32)))) == 0
    assert fuse_norms(summed("RMSNormalization", constant("c", np.ones(WIDTH, np.float32)))) == 0
    assert fuse_norms(summed("RMSNormalization", dtype=ir.DataType.FLOAT16)) == 0


def test_a_norm_of_no_sum_stays():
    x, scale = value("x", FLOAT, "batch", "seq", WIDTH), constant("scale", np.ones(WIDTH, np.float32))
    norm = ir.Node("", "RMSNormalization", [x, scale], name="norm")
    assert fuse_norms(model([x], [norm], norm.outputs, [scale])) == 0
