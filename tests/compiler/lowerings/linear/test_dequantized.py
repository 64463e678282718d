"""Products and lookups with weights behind a DequantizeLinear, by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
import torch

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.lowerings.driver import Lower, Results
from archc.compiler.lowerings.linear import portable
from archc.compiler.lowerings.linear.dequantized import DequantizedWeights
from archc.compiler.weights.formats.symmetric import NumberFormat, SymmetricFormat
from archc.compiler.weights.lazy import WeightTensor
from tests.compiler.graphs import constant, filled, model, operators, run, semantic, value, weight, weights_of
from tests.compiler.lowerings.linear.cases import (
    FLOAT,
    INT64,
    Axes,
    check_exact,
    expected,
    lookup,
    lowered,
    normal,
    product,
    stack,
    table_alone,
    tied,
    whole_by_block,
)
from tests.compiler.lowerings.linear.dequantized import EYE, KINDS, check_near, dequantized

BIASED = pytest.mark.parametrize("biased", [False, True], ids=["plain", "bias"])
DTYPES = {"int8": ir.DataType.INT8, "int4": ir.DataType.INT4, "fp8": ir.DataType.FLOAT8E4M3FN}
Problem = Callable[[], ir.Model]


def dequantizers(graph: ir.Model) -> list[ir.Node]:
    return [node for node in graph.graph if node.op_type == "DequantizeLinear"]


@KINDS
def test_a_product_reads_the_dequantized_matrix(kind: NumberFormat, most: float) -> None:
    matrix_NK = normal(6, 64, seed=1)
    matrix_NK[2] = 0
    graph = dequantized(product("layers.0.up.weight", 6, 64, axes=("n",)), kind)
    assert operators(graph) == ["DequantizeLinear", "MatMul", *["Mul"] * (kind != "int4")]
    assert {tensor.dtype for tensor in weights_of(graph).values()} == {DTYPES[kind], FLOAT}
    (weights_KN,) = run(filled(graph, {"layers.0.up.weight": matrix_NK}), {"x": EYE})
    assert not weights_KN[:, 2].any()
    others = [0, 1, 3, 4, 5]
    check_near(weights_KN[:, others], matrix_NK.t().numpy()[:, others], 0, most)


@BIASED
@KINDS
def test_a_product_is_exactly_its_formula(kind: NumberFormat, most: float, biased: bool) -> None:
    # ONNX Runtime fuses some of them into products that quantize activations.
    slots, x = {"w": normal(48, 96), "w.bias": torch.arange(48.0)}, whole_by_block(2, 5, 96)
    graph = dequantized(product("w", 48, 96, biased=biased), kind)
    assert operators(graph) == ["DequantizeLinear", "MatMul", *["Mul"] * (kind != "int4"), *["Add"] * biased]
    (y,) = run(filled(graph, slots), {"x": x})
    stored = SymmetricFormat.fitting(kind, 48, 96)
    assert stored is not None
    scales = stored.scales(slots["w"], torch.float32)
    elements = stored.elements(slots["w"], scales).float().unflatten(-1, (scales.shape[1], -1))
    weights_NK = (elements * scales.unsqueeze(-1) * stored.prescale).flatten(1)
    check_exact(y, expected(x, weights_NK, slots["w.bias"] if biased else None))


@pytest.mark.parametrize(("kind", "prescale"), [("int8", 2**-10), ("fp8", 2**-12)], ids=["int8", "fp8"])
def test_scales_of_outputs_come_after_the_product(kind: NumberFormat, prescale: float) -> None:
    graph = dequantized(product("w", 6, 64), kind)
    dequantizer, matmul, scaled = graph.graph
    elements, unit = dequantizer.inputs
    assert (elements.shape, elements.dtype) == ([64, 6], DTYPES[kind])
    assert unit.const_value.numpy() == np.float32(prescale)
    assert unit.shape == [], "one number for all elements"
    assert matmul.inputs[1] is dequantizer.outputs[0]
    assert scaled.inputs[0] is matmul.outputs[0]
    assert isinstance(scaled.inputs[1].const_value, WeightTensor)
    assert scaled.inputs[1].shape == [6]


def test_scales_of_int4_blocks_come_before_it() -> None:
    graph = dequantized(product("w", 6, 96), "int4")
    dequantizer, matmul = graph.graph
    assert [item.shape for item in dequantizer.inputs] == [[96, 6], [3, 6]]
    assert (dequantizer.attributes["axis"].as_int(), dequantizer.attributes["block_size"].as_int()) == (0, 32)
    assert (dequantizer.outputs[0].shape, dequantizer.outputs[0].dtype) == ([96, 6], FLOAT)
    assert matmul.inputs[1] is dequantizer.outputs[0]


@KINDS
@pytest.mark.parametrize("dtype", [ir.DataType.FLOAT16, ir.DataType.BFLOAT16], ids=["float16", "bfloat16"])
def test_scales_have_the_dtype_of_activations(dtype: ir.DataType, kind: NumberFormat, most: float) -> None:
    graph = dequantized(product("w", 6, 64, dtype=dtype, biased=True), kind)
    (dequantizer,) = dequantizers(graph)
    assert [item.dtype for item in dequantizer.inputs] == [DTYPES[kind], dtype]
    assert {tensor.dtype for tensor in weights_of(graph).values()} == {DTYPES[kind], dtype}
    assert dequantizer.outputs[0].dtype == dtype


@KINDS
@pytest.mark.parametrize("head_first", [False, True], ids=["lookup-first", "head-first"])
@pytest.mark.parametrize("axes", [("n",), ("batch", "n")], ids=["rows", "sequences"])
def test_a_table_and_the_head_that_shares_it_are_stored_once(
    kind: NumberFormat, most: float, axes: Axes, head_first: bool
) -> None:
    table = normal(9, 64, seed=2)
    graph = dequantized(tied(9, 64, axes=axes, head_first=head_first), kind)
    names = operators(graph)
    assert (names.count("DequantizeLinear"), names.count("MatMul"), names.count("Gemm")) == (1, 1, 0)
    assert len(weights_of(graph)) == 2, "the elements and their scales"
    assert all(tensor.sizes[0] == 9 for tensor in weights_of(graph).values()), "in rows, as they are looked up"
    ids, x = np.array([[8, 0, 3]]), EYE.reshape(*[1] * (len(axes) - 1), 64, 64)
    rows, columns = run(filled(graph, {"embedding.tokens.weight": table}), {"ids": ids, "x": x})
    assert columns.shape == (*x.shape[:-1], 9)
    weights_NK = columns.reshape(64, 9).T
    check_near(weights_NK, table.numpy(), 1, most)
    np.testing.assert_allclose(rows, weights_NK[ids], rtol=1e-6)


@KINDS
def test_the_bias_of_a_head_is_added_last(kind: NumberFormat, most: float) -> None:
    slots = {"embedding.tokens.weight": normal(9, 64), "head.bias": torch.arange(9.0)}
    feeds = {"ids": np.array([[0]]), "x": normal(2, 3, 64, seed=1).numpy()}
    plain, biased = (run(filled(dequantized(tied(9, 64, biased=has), kind), slots), feeds)[1] for has in (False, True))
    np.testing.assert_array_equal(biased, plain + slots["head.bias"].numpy())


@KINDS
def test_a_call_may_look_up_nothing_and_have_no_rows(kind: NumberFormat, most: float) -> None:
    graph = filled(dequantized(tied(9, 64), kind), {"embedding.tokens.weight": normal(9, 64)})
    feeds = {"ids": np.zeros((2, 0), np.int64), "x": np.zeros((2, 0, 64), np.float32)}
    assert [result.shape for result in run(graph, feeds)] == [(2, 0, 64), (2, 0, 9)]


@KINDS
@pytest.mark.parametrize("ids", [(4,), (2, 3), (2, 3, 1)], ids=["row", "sequences", "three-axes"])
def test_a_lookup_has_the_axes_of_its_ids(ids: tuple[int, ...], kind: NumberFormat, most: float) -> None:
    graph = dequantized(table_alone(9, 64, [f"axis.{index}" for index in range(len(ids))]), kind)
    assert operators(graph)[:2] == ["DequantizeLinear", "Gather"]
    table, picked = normal(9, 64), np.random.default_rng(0).integers(0, 9, ids)
    (rows,) = run(filled(graph, {"embedding.tokens.weight": table}), {"ids": picked})
    check_near(rows, table[picked].numpy(), -1, most)


@KINDS
def test_every_matrix_of_a_stack_has_scales_of_its_own(kind: NumberFormat, most: float) -> None:
    slots = {f"experts.{i}.up": 10.0**i * normal(6, 64, seed=i) for i in range(3)}
    graph = dequantized(stack(3, 6, 64), kind)
    assert operators(graph) == ["DequantizeLinear", "MatMul", *["Mul"] * (kind != "int4")]
    shapes = {tensor.dtype: tensor.sizes for tensor in weights_of(graph).values()}
    assert shapes == {DTYPES[kind]: (3, 64, 6), FLOAT: (3, 1, 6)}
    (back_EKN,) = run(filled(graph, slots), {"x": EYE[None]})
    for back_KN, matrix_NK in zip(back_EKN, slots.values(), strict=True):
        check_near(back_KN, matrix_NK.t().numpy(), 0, most)


@KINDS
def test_all_readers_of_a_weight_share_one_dequantizer(kind: NumberFormat, most: float) -> None:
    table, inputs = weight("shared.weight", 6, 64), [value(name, FLOAT, "n", 64) for name in "abc"]
    nodes = [semantic("Linear", [x, table], f"{x.name}.y", ["n", 6]) for x in inputs]
    graph = dequantized(model(inputs, nodes, [node.outputs[0] for node in nodes], [table]), kind)
    assert operators(graph).count("DequantizeLinear") == 1
    assert operators(graph).count("MatMul") == 3
    assert len(weights_of(graph)) == 2
    results = run(filled(graph, {"shared.weight": normal(6, 64)}), dict.fromkeys("abc", EYE))
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_each_graph_has_its_own_dequantizers() -> None:
    weights = DequantizedWeights("int8")
    graphs = [lowered(product("w", 6, 64), weights.linear, weights.lookup) for _ in range(2)]
    assert [len(dequantizers(graph)) for graph in graphs] == [1, 1]


def test_a_lookup_that_another_lowering_adds_after_the_product_reads_the_float_table() -> None:
    x, ids, table = value("x", FLOAT, "n", 64), value("ids", INT64, "m"), weight("w", 6, 64)
    nodes = [semantic("Linear", [x, table], "y", ["n", 6]), semantic("Late", [ids], "rows", ["m", 64])]
    graph = model([x, ids], nodes, [node.outputs[0] for node in nodes], [table])
    weights = DequantizedWeights("int8")

    def late(node: ir.Node, op: GraphBuilder) -> Results:
        rows: ir.Value = op.Gather(table, node.inputs[0], axis=0)
        return rows

    Lower({"Linear": weights.linear, "Late": late}, {"Gather": weights.lookup})(graph)
    assert operators(graph) == ["DequantizeLinear", "MatMul", "Mul", "Gather"]
    _, rows = run(filled(graph, {"w": normal(6, 64)}), {"x": EYE, "ids": np.array([3, 1])})
    np.testing.assert_array_equal(rows, normal(6, 64)[[3, 1]].numpy())


def of_numbers() -> ir.Model:
    x, table = value("x", FLOAT, "n", 64), constant("w", np.ones((6, 64), np.float32))
    linear = semantic("Linear", [x, table], "y", ["n", 6])
    return model([x], [linear], linear.outputs, [table])


def read_by_another_operator() -> ir.Model:
    x, table = value("x", FLOAT, "n", 64), weight("w", 6, 64)
    linear = semantic("Linear", [x, table], "y", ["n", 6])
    other = ir.Node("", "Neg", [table], name="other")
    other.outputs[0].name, other.outputs[0].type, other.outputs[0].shape = "other", table.type, table.shape
    return model([x], [linear, other], [*linear.outputs, *other.outputs], [table])


def columns_looked_up() -> ir.Model:
    x, table, ids = value("x", FLOAT, "n", 64), weight("w", 6, 64), value("ids", INT64, "m")
    linear, columns = semantic("Linear", [x, table], "y", ["n", 6]), lookup(table, ids, "columns", [6, "m"], axis=1)
    return model([x, ids], [linear, columns], [*linear.outputs, *columns.outputs], [table])


def looked_up_stack() -> ir.Model:
    graph = stack(3, 6, 64)
    (stacked,) = graph.graph.initializers.values()
    ids = value("ids", INT64, 1)
    node = lookup(stacked, ids, "experts", [1, 6, 64])
    graph.graph.inputs.append(ids)
    graph.graph.append(node)
    graph.graph.outputs.append(node.outputs[0])
    return graph


def of_three_axes() -> ir.Model:
    x, table = value("x", FLOAT, 1, "n", 64), weight("w", 3, 6, 64)
    linear = semantic("Linear", [x, table], "y", [3, "n", 6])
    return model([x], [linear], linear.outputs, [table])


STAY: dict[str, tuple[Problem, NumberFormat]] = {
    "numbers-of-the-graph": (of_numbers, "int8"),
    "router": (lambda: product("layers.0.mlp.router.projection.weight", 6, 64), "int8"),
    "read-by-another-operator": (read_by_another_operator, "int8"),
    "columns-are-looked-up": (columns_looked_up, "fp8"),
    "three-axes": (of_three_axes, "int8"),
    "int4-without-a-block": (lambda: product("w", 6, 20), "int4"),
    "int4-of-odd-rows": (lambda: product("w", 5, 64), "int4"),
    "one-output-int8": (lambda: product("w", 1, 64), "int8"),
    "one-output-fp8": (lambda: product("w", 1, 64), "fp8"),
    "table-without-a-block": (lambda: tied(6, 20), "int8"),
    "lookup-without-a-block": (lambda: table_alone(6, 20), "fp8"),
    "looked-up-stack": (looked_up_stack, "int8"),
}


@pytest.mark.parametrize("case", STAY)
def test_other_weights_stay_in_float(case: str) -> None:
    problem, kind = STAY[case]
    graph, before = dequantized(problem(), kind), lowered(problem(), portable.linear)
    assert operators(graph) == operators(before)
    assert list(weights_of(graph)) == list(weights_of(before))
    assert {tensor.dtype for tensor in weights_of(graph).values()} <= {FLOAT}


@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        (lambda: product("w", 2, 64), "int4"),
        (lambda: product("w", 6, 20), "int8"),
        (lambda: product("w", 5, 64), "fp8"),
        (lambda: stack(3, 1, 64), "int8"),
        (lambda: tied(1, 64), "int8"),
        (lambda: tied(5, 64), "int4"),
    ],
    ids=["two-outputs", "any-width", "odd-rows", "stack-of-one-output", "table-of-one-row", "table-of-odd-rows"],
)
def test_the_nearest_opposites_are_quantized(problem: Problem, kind: NumberFormat) -> None:
    assert len(dequantizers(dequantized(problem(), kind))) == 1
