"""Builders of nodes: names, constants that are one initializer, nested graphs and bodies that capture nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from archc.compiler.graph.builder import BodyBuilder, GraphBuilder, intern_constant, op, register_initializer
from archc.compiler.graph.domains import MICROSOFT, OPSET
from archc.compiler.weights.lazy import WeightTensor
from tests.compiler.graphs import build, constant, model, run, typed, value

FLOAT, FLOAT16, BFLOAT16, INT64 = ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.INT64


def graph() -> ir.Graph:
    return ir.Graph([], [], nodes=[], opset_imports={"": OPSET}, name="test")


DIFFERENT: dict[str, Callable[[GraphBuilder], ir.Value]] = {
    "scalar int64": lambda op: op.scalar(4),
    "vector int64": lambda op: op.ints(4),
    "matrix int64": lambda op: op.constant(np.array([[4]])),
    "scalar float32": lambda op: op.scalar(4, FLOAT),
    "scalar float16": lambda op: op.scalar(4, FLOAT16),
    "scalar bfloat16": lambda op: op.scalar(4, BFLOAT16),
    "scalar int32": lambda op: op.scalar(4, ir.DataType.INT32),
    "another number": lambda op: op.scalar(5),
    "two numbers": lambda op: op.ints(4, 4),
    "a row of two": lambda op: op.constant(np.array([[4, 4]])),
    "a column of two": lambda op: op.constant(np.array([[4], [4]])),
    "minus one": lambda op: op.ints(-1),
    "one and one": lambda op: op.ints(1, 1),
    "eleven": lambda op: op.ints(11),
    "true": lambda op: op.constant(np.array(True)),
    "zero": lambda op: op.scalar(0.0, FLOAT),
    "minus zero": lambda op: op.scalar(-0.0, FLOAT),
    "infinity": lambda op: op.scalar(np.inf, FLOAT),
    "not a number": lambda op: op.scalar(np.nan, FLOAT),
    "lowest": lambda op: op.scalar(float(np.finfo(np.float32).min), FLOAT),
    "nearly lowest": lambda op: op.scalar(float(np.nextafter(np.finfo(np.float32).min, np.float32(0))), FLOAT),
    "nine numbers": lambda op: op.ints(*range(9)),
    "nine others": lambda op: op.ints(*range(1, 10)),
    "nine numbers in three rows": lambda op: op.constant(np.arange(9).reshape(3, 3)),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_equal_constants_are_one_initializer(name: str) -> None:
    builder = GraphBuilder(graph(), "test")
    first, second = (DIFFERENT[name](builder) for _ in range(2))
    assert first is second
    assert builder.graph.initializers == {first.name: first}
    assert not builder.nodes


def test_shape_dtype_and_numbers_make_a_constant_another() -> None:
    builder = GraphBuilder(graph(), "test")
    values = {name: make(builder) for name, make in DIFFERENT.items()}
    assert len(builder.graph.initializers) == len(set(values.values())) == len(DIFFERENT)
    for name, item in values.items():
        alone = DIFFERENT[name](GraphBuilder(graph(), "test"))
        for kept in (item, alone):
            assert kept.const_value is not None
            assert (kept.dtype, kept.shape) == (kept.const_value.dtype, kept.const_value.shape)
        assert item.const_value.tobytes() == alone.const_value.tobytes()


def test_a_scalar_and_a_vector_of_one_number_differ() -> None:
    builder = GraphBuilder(graph(), "test")
    scalar, vector = builder.scalar(4), builder.ints(4)
    assert (list(scalar.shape), list(vector.shape)) == ([], [1])
    assert scalar is not vector


@pytest.mark.parametrize("numbers", [1.5, [1.5, -2.0], [[0.25]] * 9], ids=["scalar", "vector", "matrix"])
def test_a_bfloat16_constant_has_its_bytes(numbers: Any) -> None:
    array = np.array(numbers, ml_dtypes.bfloat16)
    builder = GraphBuilder(graph(), "test")
    stored = builder.constant(array).const_value
    assert stored is not None
    assert (stored.dtype, stored.nbytes) == (BFLOAT16, 2 * array.size)
    np.testing.assert_array_equal(stored.numpy().astype(np.float32), np.array(numbers, np.float32))
    assert builder.constant(array.astype(np.float32)).dtype == FLOAT


def test_a_scalar_of_bfloat16_is_the_number() -> None:
    stored = GraphBuilder(graph(), "test").scalar(0.5, BFLOAT16).const_value
    assert stored is not None
    assert (stored.dtype, float(stored.numpy())) == (BFLOAT16, 0.5)


def test_names_of_constants_depend_on_nothing_but_the_constant() -> None:
    first, second = GraphBuilder(graph(), "first"), GraphBuilder(graph(), "second")
    second.scalar(7.0, FLOAT)
    for name, make in DIFFERENT.items():
        assert make(first).name == make(second).name, name
    assert first.ints(0, -1).name == "constant.int64.2.0_-1"
    assert first.scalar(0.5, FLOAT).name == "constant.float..0.5"


def test_interning_returns_a_graph_s_own_value() -> None:
    owner = graph()
    tensor = ir.tensor(np.array([1.0, 2.0], np.float32))
    interned = intern_constant(owner, tensor)
    assert interned is intern_constant(owner, ir.tensor(np.array([1.0, 2.0], np.float32)))
    assert interned is not intern_constant(graph(), tensor)


def test_a_weight_s_initializer_is_registered_once() -> None:
    builder = GraphBuilder(graph(), "test")
    tensor = WeightTensor("layers.0.up", (6, 4), FLOAT16)
    first, second = builder.initializer(tensor), register_initializer(builder.graph, tensor)
    assert first is second
    assert (first.name, first.dtype, str(first.shape)) == ("layers.0.up", FLOAT16, "[6,4]")
    assert first.const_value is tensor


def test_nodes_and_outputs_are_numbered_in_their_order() -> None:
    builder = GraphBuilder(graph(), "layers.0.q")
    x = value("x", FLOAT, "batch", 4)
    one = builder.Neg(x)
    left, right = builder.Split(one, outputs=2, axis=1, num_outputs=2)
    assert [node.name for node in builder.nodes] == ["layers.0.q.0.Neg", "layers.0.q.1.Split"]
    assert [item.name for item in (one, left, right)] == [
        "layers.0.q.0.Neg", "layers.0.q.1.Split.0", "layers.0.q.1.Split.1",
    ]  # fmt: skip


def test_trailing_absent_inputs_are_left_out_and_others_kept() -> None:
    builder = GraphBuilder(graph(), "test")
    x, bias = value("x", FLOAT, 4), value("bias", FLOAT, 4)
    builder.Clip(x, None, bias)
    builder.Clip(x, None, None)
    builder.Random(None)
    assert [node.inputs for node in builder.nodes] == [(x, None, bias), (x,), ()]


def test_a_node_of_another_domain_imports_it() -> None:
    builder = GraphBuilder(graph(), "test")
    builder.QuickGelu(value("x", FLOAT, 4), alpha=1.0, domain=MICROSOFT)
    assert builder.graph.opset_imports == {"": OPSET, MICROSOFT: 1}


def test_attributes_have_the_types_of_their_values() -> None:
    builder = GraphBuilder(graph(), "test")
    builder.Any(value("x", FLOAT, 4), axis=-1, alpha=0.5, mode="linear", perm=[1, 0])
    kinds = {name: attribute.type.name for name, attribute in builder.nodes[0].attributes.items()}
    assert kinds == {"axis": "INT", "alpha": "FLOAT", "mode": "STRING", "perm": "INTS"}


@pytest.mark.parametrize("name", ["lower", "_private", "nodes_", "matMul"])
def test_a_name_that_is_no_operator_s_is_no_function(name: str) -> None:
    with pytest.raises(AttributeError):
        getattr(op, name)


def test_the_builder_of_tracing_makes_constant_nodes_without_a_graph() -> None:
    number = op.scalar(2.0, FLOAT)
    maker = number.producer()
    assert maker is not None
    assert (maker.op_type, maker.graph) == ("Constant", None)
    assert (number.dtype, list(number.shape)) == (FLOAT, [])
    assert op.scalar(2.0, FLOAT) is not number


def test_a_closed_builder_makes_constant_nodes() -> None:
    builder = GraphBuilder(graph(), "body", closed=True)
    first, second = builder.scalar(4), builder.ints(4)
    assert not builder.graph.initializers
    assert [node.op_type for node in builder.nodes] == ["Constant", "Constant"]
    assert [item.name for item in (first, second)] == ["body.0.Constant", "body.1.Constant"]
    assert (first.dtype, list(first.shape), list(second.shape)) == (INT64, [], [1])


def test_a_nested_builder_shares_constants_and_has_nodes_of_its_own() -> None:
    builder = GraphBuilder(graph(), "outer")
    inner = builder.nested("then")
    assert inner.scalar(1.0, FLOAT) is builder.scalar(1.0, FLOAT)
    result = inner.Neg(value("x", FLOAT, 4))
    assert result.name == "outer.then.0.Neg"
    assert not builder.nodes
    branch = inner.subgraph([result])
    assert (branch.name, [node.op_type for node in branch], list(branch.outputs)) == ("outer.then", ["Neg"], [result])


def body() -> BodyBuilder:
    """The body of a running sum with decay: the sum so far, a row → the new sum, the doubled sum."""
    builder = BodyBuilder("sums", FLOAT)
    state, row = builder.input("state", 1), builder.input("row", 1)
    total = builder.Add(builder.Mul(state, builder.number(0.5)), row)
    builder.output(total, 1)
    left, right = builder.split(total, [1, 3])
    builder.output(builder.Concat(right, left, axis=0), 1)
    return builder


def test_a_body_has_its_inputs_outputs_and_constants() -> None:
    graph_of_body = body().body()
    assert graph_of_body.name == "sums"
    assert graph_of_body.opset_imports == {"": OPSET}
    assert not graph_of_body.initializers
    assert [item.name for item in graph_of_body.inputs] == ["state", "row"]
    ends = [*graph_of_body.inputs, *graph_of_body.outputs]
    assert [(item.dtype, len(item.shape)) for item in ends] == [(FLOAT, 1)] * 4
    assert [node.op_type for node in graph_of_body] == ["Constant", "Mul", "Add", "Constant", "Split", "Concat"]


def test_a_scan_runs_a_body() -> None:
    start = constant("start", np.zeros(4, np.float32))
    rows = value("rows", FLOAT, "seq", 4)
    outer = build(
        [rows],
        lambda op: [
            typed(item, name, FLOAT, *shape)
            for item, name, shape in zip(
                op.Scan(start, rows, body=body().body(), num_scan_inputs=1, outputs=2),
                ("last", "turned"), ((4,), ("seq", 4)), strict=True,
            )
        ],
        [start],
    )  # fmt: skip
    last, turned = run(outer, {"rows": np.array([[2, 4, 6, 8], [1, 1, 1, 1]], np.float32)})
    assert last.tolist() == [2, 3, 4, 5]
    assert turned.tolist() == [[4, 6, 8, 2], [3, 4, 5, 2]]


@pytest.mark.parametrize("dtype", [FLOAT, FLOAT16, BFLOAT16], ids=["float32", "float16", "bfloat16"])
def test_numbers_of_a_body_have_its_dtype(dtype: ir.DataType) -> None:
    builder = BodyBuilder("body", dtype)
    number, sizes = builder.number(0.5), builder.ints(1, 2)
    assert (number.dtype, sizes.dtype, builder.input("x", 3).dtype) == (dtype, INT64, dtype)


def test_a_graph_with_interned_constants_runs() -> None:
    x = value("x", FLOAT, "batch", 4)
    owner = model([x], [], [])
    builder = GraphBuilder(owner.graph, "sum")
    y = typed(builder.Add(x, builder.scalar(4.0, FLOAT)), "y", FLOAT, "batch", 4)
    z = typed(builder.Reshape(y, builder.ints(-1)), "z", FLOAT, "n")
    owner.graph.extend(builder.nodes)
    owner.graph.outputs.extend([y, z])
    results = run(owner, {"x": np.zeros((2, 4), np.float32)})
    assert [result.shape for result in results] == [(2, 4), (8,)]
