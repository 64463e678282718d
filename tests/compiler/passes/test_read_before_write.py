"""Old states are read before new ones are written over them; a copy is made where the edges do not order that."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnxruntime import InferenceSession, OrtValue

from archc.compiler.contract.ports import mark_state_input
from archc.compiler.graph.builder import BodyBuilder, GraphBuilder
from archc.compiler.passes.read_before_write import ReadBeforeWrite
from tests.compiler.graphs import operators, run, value

FLOAT = ir.DataType.FLOAT
OLD, NEW = "past_recurrent.0", "present_recurrent.0"


class State:
    """A graph of x [2, 3] and a state [2, 3], built node by node."""

    def __init__(self, kind: str = "fixed") -> None:
        self.x, self.old = value("x", FLOAT, 2, 3), value(OLD, FLOAT, 2, 3)
        mark_state_input(self.old, kind, NEW)
        self.graph = ir.Graph([self.x, self.old], [], nodes=[], opset_imports={"": 20}, name="test")
        self.op = GraphBuilder(self.graph, "test")

    def model(self, new: ir.Value, y: ir.Value) -> ir.Model:
        for name, output in ((NEW, new), ("y", y)):
            output.name, output.type, output.shape = name, ir.TensorType(FLOAT), ir.Shape([2, 3])
        self.graph.extend(self.op.nodes)
        self.graph.outputs.extend([new, y])
        return ir.Model(self.graph, ir_version=9)


def unordered(state: State) -> ir.Model:
    """The new state and y both read the old one."""
    return state.model(state.op.Add(state.old, state.x), state.op.Mul(state.old, state.x))


def ordered(state: State) -> ir.Model:
    """The new state is computed from y."""
    y = state.op.Mul(state.old, state.x)
    return state.model(state.op.Add(y, state.x), y)


def of_a_view(state: State) -> ir.Model:
    """Y reads a view of the old state, that the new one is computed from, too."""
    view = state.op.Reshape(state.old, state.op.ints(6))
    y = state.op.Reshape(state.op.Neg(view), state.op.ints(2, 3))
    return state.model(state.op.Reshape(state.op.Exp(view), state.op.ints(2, 3)), y)


def scan(state: State, reads_first: bool) -> ir.Model:
    """A Scan over one step, with an output that its body computes from the old state or from the new one."""
    body = BodyBuilder("body", FLOAT)
    old, x = body.input("state", 2), body.input("token", 2)
    y = body.Mul(old, x)
    new = body.Add(y, x) if reads_first else body.Sub(old, x)
    body.output(new, 2)
    body.output(y, 2)
    steps = state.op.Unsqueeze(state.x, state.op.ints(0))
    new, ys = state.op.Scan(state.old, steps, body=body.body(), num_scan_inputs=1, outputs=2)
    return state.model(new, state.op.Squeeze(ys, state.op.ints(0)))


CASES = {
    "unordered": (unordered, True),
    "ordered": (ordered, False),
    "a view": (of_a_view, True),
    "a body that reads late": (lambda state: scan(state, False), True),
    "a body that reads first": (lambda state: scan(state, True), False),
}


@pytest.mark.parametrize("case", CASES)
def test_a_state_is_copied_where_it_may_be_read_late(case: str) -> None:
    build, is_copied = CASES[case]
    graph_model = build(State())
    rng = np.random.default_rng(0)
    feeds = {name: rng.standard_normal((2, 3)).astype(np.float32) for name in ("x", OLD)}
    expected = run(graph_model, feeds)
    assert ReadBeforeWrite()(graph_model).modified is is_copied
    assert operators(graph_model).count("Max") == is_copied
    session = InferenceSession(ir.serde.serialize_model(graph_model).SerializeToString())
    binding, x = session.io_binding(), OrtValue.ortvalue_from_numpy(feeds["x"])
    shared = feeds[OLD].copy()
    state = OrtValue.ortvalue_from_numpy(shared)
    binding.bind_ortvalue_input("x", x)
    binding.bind_ortvalue_input(OLD, state)
    binding.bind_ortvalue_output(NEW, state)
    binding.bind_output("y")
    session.run_with_iobinding(binding)
    for found, result in zip(binding.get_outputs(), expected, strict=True):
        np.testing.assert_allclose(found.numpy(), result, atol=1e-6)


def test_a_cache_that_grows_is_not_copied() -> None:
    assert not ReadBeforeWrite()(unordered(State("kv"))).modified
