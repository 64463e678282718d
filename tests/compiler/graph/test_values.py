"""Reading and replacing values: what a replacement takes over, and what a reader is."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from archc.compiler.contract.ports import mark, mark_state_input, port, state_kind
from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.values import (
    axis_name,
    cast,
    drop_unused_initializers,
    dtype_of,
    fixed_size,
    only_reader,
    replace_value,
    required,
    shape_of,
    subgraphs,
)
from tests.compiler.graphs import build, constant, run, typed, value

FLOAT, FLOAT16, BOOL = ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BOOL
SHAPE = ("batch", 4)


def doubled() -> tuple[ir.Model, ir.Value, ir.Value]:
    """A graph of x + x → logits, which a Neg reads, too; the sum, and a value that can replace it."""
    x = value("x", FLOAT, *SHAPE)
    results: list[ir.Value] = []

    def make(op: GraphBuilder) -> list[ir.Value]:
        results.extend([typed(op.Add(x, x), "logits", FLOAT, *SHAPE), op.Mul(x, op.scalar(2.0, FLOAT))])
        return [results[0], typed(op.Neg(results[0]), "negated", FLOAT, *SHAPE)]

    graph_model = build([x], make)
    return graph_model, results[0], results[1]


def test_replacing_moves_readers_outputs_name_type_and_shape() -> None:
    graph_model, old, new = doubled()
    readers = [use.node.op_type for use in old.uses()]
    replace_value(old, new)
    assert [output.name for output in graph_model.graph.outputs] == ["logits", "negated"]
    assert graph_model.graph.outputs[0] is new
    assert (new.name, new.dtype, str(new.shape)) == ("logits", FLOAT, "[batch,4]")
    assert [use.node.op_type for use in new.uses()] == readers == ["Neg"]
    assert (list(old.uses()), old.is_graph_output(), old.name) == ([], False, None)


def test_a_graph_computes_the_replacement() -> None:
    graph_model, old, new = doubled()
    replace_value(old, new)
    graph_model.graph.remove(required(old.producer()), safe=True)
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    logits, negated = run(graph_model, {"x": x})
    np.testing.assert_array_equal(logits, 2 * x)
    np.testing.assert_array_equal(negated, -2 * x)


def test_replacing_moves_the_port() -> None:
    _, old, new = doubled()
    mark(old, {"role": "logits"})
    replace_value(old, new)
    assert port(new) == {"role": "logits"}


def test_replacing_keeps_other_metadata_of_the_new_value() -> None:
    _, old, new = doubled()
    mark_state_input(old, "kv", "present")
    mark(new, {"role": "logits"})
    new.metadata_props["other"] = "stays"
    replace_value(old, new)
    assert state_kind(new) == "kv"
    assert port(new) == {"state": "kv", "output": "present"}
    assert new.metadata_props["other"] == "stays"


def test_a_replacement_without_a_port_has_none() -> None:
    _, old, new = doubled()
    replace_value(old, new)
    assert port(new) == {}


def test_the_only_reader_is_a_node_that_reads_once_alone() -> None:
    x = value("x", FLOAT, *SHAPE)
    values: dict[str, ir.Value] = {}

    def make(op: GraphBuilder) -> list[ir.Value]:
        for name in ("alone", "twice", "both", "output", "unread"):
            values[name] = typed(op.Neg(x), name, FLOAT, *SHAPE)
        op.Abs(values["alone"])
        op.Add(values["twice"], values["twice"])
        op.Abs(values["both"])
        op.Exp(values["both"])
        op.Abs(values["output"])
        return [values["output"]]

    build([x], make)
    readers = {name: only_reader(item) for name, item in values.items()}
    alone = readers.pop("alone")
    assert alone is not None
    assert alone.op_type == "Abs"
    assert readers == {"twice": None, "both": None, "output": None, "unread": None}


def test_a_reader_within_a_branch_counts() -> None:
    x, many = value("x", FLOAT, *SHAPE), value("many", BOOL)
    source: list[ir.Value] = []

    def make(op: GraphBuilder) -> list[ir.Value]:
        source.append(typed(op.Neg(x), "negated", FLOAT, *SHAPE))
        branches = {}
        for name in ("then_branch", "else_branch"):
            inner = op.nested(name)
            branches[name] = inner.subgraph([typed(inner.Exp(source[0]), f"{name}.y", FLOAT, *SHAPE)])
        return [typed(op.If(many, **branches), "y", FLOAT, *SHAPE)]

    graph_model = build([x, many], make)
    assert only_reader(source[0]) is None
    choice = next(node for node in graph_model.graph if node.op_type == "If")
    assert [graph.outputs[0].name for graph in subgraphs(choice)] == ["then_branch.y", "else_branch.y"]
    assert not list(subgraphs(required(source[0].producer())))


def test_axes_have_names_sizes_or_neither() -> None:
    x = value("x", FLOAT, "batch", 4, "total")
    assert [axis_name(x, axis) for axis in (0, 1, -1)] == ["batch", "4", "total"]
    assert fixed_size(x, 1) == fixed_size(x, -2) == 4
    assert axis_name(ir.Value(name="y"), 0) == ""
    assert axis_name(ir.Value(name="z", shape=ir.Shape([None])), 0) == ""


def test_missing_facts_are_refused_with_the_value_s_name() -> None:
    unknown = ir.Value(name="hidden")
    with pytest.raises(AssertionError, match="hidden has no shape"):
        shape_of(unknown)
    with pytest.raises(AssertionError, match="hidden has no element type"):
        dtype_of(unknown)
    with pytest.raises(AssertionError, match="x: axis 0 has no fixed size"):
        fixed_size(value("x", FLOAT, "batch"), 0)
    with pytest.raises(AssertionError):
        required(None)


def test_a_cast_has_type_and_shape_and_none_is_made_to_the_own_type() -> None:
    x = value("x", FLOAT, *SHAPE)
    results: list[ir.Value] = []

    def make(op: GraphBuilder) -> list[ir.Value]:
        results.extend([cast(op, x, FLOAT), cast(op, x, FLOAT16)])
        results[1].name = "half"
        return [results[1]]

    graph_model = build([x], make)
    assert results[0] is x
    assert (results[1].dtype, str(results[1].shape)) == (FLOAT16, "[batch,4]")
    (half,) = run(graph_model, {"x": np.full((1, 4), 0.1, np.float32)})
    np.testing.assert_array_equal(half, np.full((1, 4), 0.1, np.float16))


def test_unread_initializers_are_dropped_and_outputs_and_inner_reads_stay() -> None:
    x, many = value("x", FLOAT, *SHAPE), value("many", BOOL)
    stored = {name: constant(name, np.ones(4, np.float32)) for name in ("read", "unread", "inner", "output")}

    def make(op: GraphBuilder) -> list[ir.Value]:
        branches = {}
        for name in ("then_branch", "else_branch"):
            inner = op.nested(name)
            branches[name] = inner.subgraph([typed(inner.Add(x, stored["inner"]), f"{name}.y", FLOAT, *SHAPE)])
        y = op.Add(op.If(many, **branches), stored["read"])
        return [typed(y, "y", FLOAT, *SHAPE), stored["output"]]

    graph_model = build([x, many], make, list(stored.values()))
    drop_unused_initializers(graph_model.graph)
    assert sorted(graph_model.graph.initializers) == ["inner", "output", "read"]
