"""The axis of the slots gets one size, everywhere."""

from __future__ import annotations

import onnx_ir as ir

from archc.compiler.contract.ports import describe, state_kind
from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.passes.fixed_capacity import FixedCapacity
from tests.compiler.graphs import build, typed, value
from tests.compiler.lowerings.attention.cached import CachedAttention, lower_float

FLOAT, INT64 = ir.DataType.FLOAT, ir.DataType.INT64


def test_inputs_outputs_and_values_between_have_the_size_and_other_axes_stay() -> None:
    cache = value("past", FLOAT, "batch", 2, "capacity", 4)
    new, indices = value("new", FLOAT, "batch", 2, "seq", 4), value("indices", INT64, "batch")

    def make(op: GraphBuilder) -> list[ir.Value]:
        written = typed(op.TensorScatter(cache, new, indices, axis=-2), "written", FLOAT, "batch", 2, "capacity", 4)
        return [typed(op.Neg(written), "present", FLOAT, "batch", 2, "capacity", 4)]

    model = build([cache, new, indices], make)
    assert FixedCapacity(24)(model).modified
    written, present = (node.outputs[0] for node in model.graph)
    assert [str(item.shape) for item in (cache, new, indices, written, present)] == [
        "[batch,2,24,4]",
        "[batch,2,seq,4]",
        "[batch]",
        "[batch,2,24,4]",
        "[batch,2,24,4]",
    ]
    assert not FixedCapacity(24)(model).modified


def test_the_contract_keeps_the_name_of_the_axis() -> None:
    model = lower_float(CachedAttention().model(), "tensorrt")
    FixedCapacity(24)(model)
    assert {state.shape for state in describe(model.graph).state} == {("batch", 2, "capacity", 8)}
    assert {str(value.shape) for value in model.graph.inputs if state_kind(value)} == {"[batch,2,24,8]"}


def test_a_graph_without_caches_stays() -> None:
    x = value("x", FLOAT, "batch", "seq")
    model = build([x], lambda op: [typed(op.Neg(x), "y", FLOAT, "batch", "seq")])
    assert not FixedCapacity(24)(model).modified
