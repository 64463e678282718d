from __future__ import annotations

import onnx_ir as ir

from archc.compiler.passes.caches.fixed_capacity import fixed_capacity
from tests.compiler.graphs import model, value


def test_the_axis_gets_its_size_in_inputs_and_outputs_and_others_stay() -> None:
    cache = value("past", ir.DataType.FLOAT, "batch", 2, "capacity", 4)
    new = value("new", ir.DataType.FLOAT, "batch", 2, "seq", 4)
    places = value("places", ir.DataType.INT64, "batch")
    node = ir.Node("", "TensorScatter", [cache, new, places], [ir.AttrInt64("axis", -2)], name="write")
    node.outputs[0].shape, node.outputs[0].type = ir.Shape(["batch", 2, "capacity", 4]), cache.type
    graph = model([cache, new, places], [node], list(node.outputs))
    assert fixed_capacity(24)(graph) == 2
    assert [str(item.shape) for item in (cache, new, node.outputs[0])] == [
        "[batch,2,24,4]", "[batch,2,seq,4]", "[batch,2,24,4]",
    ]  # fmt: skip
    assert fixed_capacity(24)(graph) == 0
