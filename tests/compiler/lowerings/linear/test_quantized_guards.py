"""Weights that stay in float where others are quantized: one negative graph for each guard, and its opposite."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from archc.compiler.lowerings.linear import portable, stored_rows
from archc.compiler.lowerings.linear.quantized import CPU, CUDA, Kernels, QuantizedWeights, is_router
from archc.compiler.weights.formats.format import Bits
from archc.compiler.weights.lazy import WeightTensor
from tests.compiler.graphs import constant, filled, model, operators, run, semantic, value, weight, weights_of
from tests.compiler.lowerings.linear.cases import (
    FLOAT,
    INT64,
    SEQUENCES,
    K,
    expected,
    lookup,
    lowered,
    normal,
    product,
    stack,
    table_alone,
    tied,
)

N = 24
NUMBERS = normal(N, K)
INTEGERS = {"MatMulNBits", "MatMulIntegerToFloat", "GatherBlockQuantized"}
Problem = Callable[[], ir.Model]


def quantized(graph: ir.Model, bits: Bits, kernels: Kernels) -> ir.Model:
    """The graph with its products and lookups lowered."""
    weights = QuantizedWeights(bits, kernels, stored_rows.linear if kernels is CPU else portable.linear)
    return lowered(graph, weights.linear, weights.lookup)


def of_numbers() -> ir.Model:
    """A product with numbers that the graph holds, which no checkpoint has."""
    x, table = value("x", FLOAT, *SEQUENCES, K), constant("w", NUMBERS.numpy())
    linear = semantic("Linear", [x, table], "y", [*SEQUENCES, N])
    return model([x], [linear], linear.outputs, [table])


def of_a_computed_weight() -> ir.Model:
    """A product with a weight that is a result of the graph."""
    x, table = value("x", FLOAT, *SEQUENCES, K), weight("w", N, K)
    negated = ir.Node("", "Neg", [table], name="negated")
    negated.outputs[0].type, negated.outputs[0].shape = table.type, table.shape
    linear = semantic("Linear", [x, *negated.outputs], "y", [*SEQUENCES, N])
    return model([x], [negated, linear], linear.outputs, [table])


def read_by(op_type: str, **attributes: int) -> Problem:
    """A product with a weight that another operator reads too."""

    def problem() -> ir.Model:
        x, table = value("x", FLOAT, *SEQUENCES, K), weight("w", N, K)
        linear = semantic("Linear", [x, table], "y", [*SEQUENCES, N])
        ids = constant("ids", np.array([1, 0]))
        inputs = [table, ids] if op_type == "Gather" else [table]
        other = ir.Node("", op_type, inputs, [ir.AttrInt64(*item) for item in attributes.items()], name="other")
        other.outputs[0].name, other.outputs[0].type = "other", table.type
        other.outputs[0].shape = ir.Shape([N, 2 if op_type == "Gather" else K])
        return model([x], [linear, other], [*linear.outputs, *other.outputs], [table, ids])

    return problem


def multiplied_from_the_left() -> ir.Model:
    """A product with a weight that is an activation of another product too."""
    x, table = value("x", FLOAT, *SEQUENCES, K), weight("w", N, K)
    other = constant("v", np.ones((8, K), np.float32))
    nodes = [
        semantic("Linear", [x, table], "y", [*SEQUENCES, N]),
        semantic("Linear", [table, other], "other", [N, 8]),
    ]
    return model([x], nodes, [node.outputs[0] for node in nodes], [table, other])


STAY: dict[str, tuple[Problem, Bits, Kernels]] = {
    "numbers-of-the-graph": (of_numbers, 8, CPU),
    "computed": (of_a_computed_weight, 8, CPU),
    "stack-int8": (lambda: stack(3, 32, K), 8, CPU),
    "stack-int4": (lambda: stack(3, 32, K), 4, CPU),
    "stack-cuda": (lambda: stack(3, 32, K), 8, CUDA),
    "router-int8": (lambda: product("layers.0.mlp.router.projection.weight", N), 8, CPU),
    "router-int4": (lambda: product("layers.0.mlp.router.projection.weight", N), 4, CPU),
    "router-cuda": (lambda: product("layers.0.mlp.router.projection.weight", N), 8, CUDA),
    "read-by-another-operator": (read_by("Neg"), 8, CPU),
    "columns-are-looked-up": (read_by("Gather", axis=1), 4, CPU),
    "activation-too": (multiplied_from_the_left, 8, CPU),
    "int4-without-a-block": (lambda: product("w", N, 20), 4, CPU),
    "int8-for-cuda-without-a-block": (lambda: product("w", N, 20), 8, CUDA),
    "int8-table-without-a-block": (lambda: tied(N, 20), 8, CPU),
    "int4-table-without-a-block": (lambda: tied(N, 20), 4, CUDA),
    "int8-lookup-without-a-block": (lambda: table_alone(N, 20), 8, CPU),
}


@pytest.mark.parametrize("case", STAY)
def test_other_weights_stay_in_float(case: str) -> None:
    problem, bits, kernels = STAY[case]
    before = problem()
    graph = quantized(problem(), bits, kernels)
    assert INTEGERS.isdisjoint(operators(graph))
    assert {tensor.dtype for tensor in weights_of(graph).values()} <= {FLOAT}
    same = lowered(before, stored_rows.linear if kernels is CPU else portable.linear)
    assert operators(graph) == operators(same), "the other lowering builds them"
    assert list(weights_of(graph)) == list(weights_of(same))


@pytest.mark.parametrize("bits", [8, 4], ids=["int8", "int4"])
def test_float16_has_no_kernels_on_the_cpu(bits: Bits) -> None:
    for problem in (product("w", N, dtype=ir.DataType.FLOAT16), table_alone(N, K, dtype=ir.DataType.FLOAT16)):
        graph = quantized(problem, bits, CPU)
        assert INTEGERS.isdisjoint(operators(graph))
        assert {tensor.dtype for tensor in weights_of(graph).values()} == {ir.DataType.FLOAT16}


def test_a_gather_with_a_table_as_its_ids_is_no_lookup_of_the_table() -> None:
    x, ids = value("x", FLOAT, 9), weight("w", N, K, dtype=ir.DataType.INT64)
    node = lookup(x, ids, "y", [N, K])
    graph = quantized(model([x], [node], node.outputs, [ids]), 8, CPU)
    assert operators(graph) == ["Gather"]


def test_rows_of_a_result_stay_a_gather() -> None:
    x, ids = value("x", FLOAT, 9, K), value("ids", INT64, 2)
    node = lookup(x, ids, "y", [2, K])
    assert operators(quantized(model([x, ids], [node], node.outputs), 4, CPU)) == ["Gather"]


def test_a_weight_in_float_is_multiplied_as_before() -> None:
    table, x = normal(N, 20), normal(2, 3, 20, seed=1).numpy()
    (y,) = run(filled(quantized(product("w", N, 20), 4, CPU), {"w": table}), {"x": x})
    np.testing.assert_allclose(y, expected(x, table), atol=1e-5)


@pytest.mark.parametrize(
    ("problem", "bits", "kernels", "operator"),
    [
        (lambda: product("layers.0.mlp.routers.weight", N), 8, CPU, "MatMulIntegerToFloat"),
        (lambda: product("w", N, 20), 8, CPU, "MatMulIntegerToFloat"),
        (lambda: product("w", 1, K), 4, CPU, "MatMulNBits"),
        (lambda: product("w", N, 16), 4, CPU, "MatMulNBits"),
        (lambda: product("w", N, K, dtype=ir.DataType.FLOAT16), 8, CUDA, "MatMulNBits"),
        (read_by("Gather", axis=0), 8, CPU, "GatherBlockQuantized"),
    ],
    ids=["no-router", "int8-of-any-width", "one-output", "smallest-block", "float16-for-cuda", "rows-are-looked-up"],
)
def test_the_nearest_opposites_are_quantized(problem: Problem, bits: Bits, kernels: Kernels, operator: str) -> None:
    assert operator in operators(quantized(problem(), bits, kernels))


@pytest.mark.parametrize(
    ("slot", "router"),
    [("layers.3.mlp.router.projection.weight", True), ("layers.3.mlp.up.weight", False)],
    ids=["router", "projection"],
)
def test_a_router_is_known_by_its_slot(slot: str, router: bool) -> None:
    assert is_router(WeightTensor(slot, (8, K), FLOAT)) is router
