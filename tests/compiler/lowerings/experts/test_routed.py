"""Experts of which a token pays for its own, next to the torch operator."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from archc.compiler.graph.axes import EXPERT_ROWS
from archc.compiler.lowerings.experts.routed import routed_experts
from archc.compiler.lowerings.linear import portable, stored_rows
from archc.compiler.lowerings.linear.quantized import CPU, QuantizedWeights
from archc.compiler.lowerings.linear.two_forms import Int4Products
from archc.compiler.weights.formats.format import Bits
from tests.compiler.graphs import filled, operators, run, weights_of
from tests.compiler.lowerings.experts.cases import (
    BIASED,
    FLOAT,
    GATED,
    INNER,
    WIDTH,
    Options,
    Problem,
    check_unused_is_unread,
    lowered,
    relative_error,
    slots,
)


def routed(problem: Problem) -> ir.Model:
    return lowered(problem, routed_experts, stored_rows.linear)


def pieces(graph: ir.Model, feeds: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """The rows that each expert's projections read."""
    (split,) = (node for node in graph.graph if node.op_type == "Split")
    graph.graph.outputs.extend(split.outputs)
    return run(graph, feeds)[1:]


def test_numbers_of_experts_that_a_token_does_not_use_do_not_reach_it() -> None:
    check_unused_is_unread(Problem(6, 2), routed_experts, stored_rows.linear)


def test_a_token_pays_for_its_own_experts_only() -> None:
    problem = Problem(8, 3)
    graph, feeds = filled(routed(problem), slots(problem.stacks())), problem.feeds(2, 7)
    rows = pieces(graph, feeds)
    assert sum(map(len, rows)) == 2 * 7 * 3
    x, chosen = feeds["x"].reshape(-1, WIDTH), feeds["chosen"].reshape(-1, 3)
    for expert, own in enumerate(rows):
        np.testing.assert_array_equal(own, x[(chosen == expert).any(-1)], f"expert {expert}")


@BIASED
@pytest.mark.parametrize("expert", [0, 3, 7], ids=["first", "inner", "last"])
def test_experts_without_tokens_compute_nothing(expert: int, biased: bool) -> None:
    """Every token chooses the same expert."""
    problem = Problem(8, 1, biased=biased)
    feeds = problem.feeds(2, 5) | {"chosen": np.full((2, 5, 1), expert)}
    graph = filled(routed(problem), slots(problem.stacks()))
    (y,) = run(graph, feeds)
    np.testing.assert_allclose(y, problem.expected(feeds), rtol=1e-4, atol=1e-4)
    assert [len(own) for own in pieces(graph, feeds)] == [10 if index == expert else 0 for index in range(8)]


@BIASED
@GATED
def test_weights_are_stored_as_the_checkpoint_has_them(gated: bool, biased: bool) -> None:
    graph = routed(Problem(8, 2, gated, biased))
    products = [node for node in graph.graph if node.op_type == "Gemm"]
    assert len(products) == (2 + gated) * 8
    assert not any(node.attributes.get("body") for node in graph.graph)
    assert not any("branch" in name for node in graph.graph for name in node.attributes)
    stored = weights_of(graph)
    shapes = {"up": (INNER, WIDTH), "down": (WIDTH, INNER)} | ({"gate": (INNER, WIDTH)} if gated else {})
    shapes |= {f"{name}_bias": shape[:1] for name, shape in shapes.items()} if biased else {}
    assert {name: tensor.sizes for name, tensor in stored.items()} == {
        f"{name}.{index}": shape for name, shape in shapes.items() for index in range(8)
    }
    assert {(tensor.steps, tensor.slots == (tensor.slot,)) for tensor in stored.values()} == {((), True)}


def test_no_stack_stays_in_the_graph() -> None:
    graph = lowered(Problem(8, 2, biased=True), routed_experts, portable.linear)
    assert max(len(item.shape or ()) for item in graph.graph.initializers.values()) == 2


def test_a_single_expert_is_not_split() -> None:
    assert "Split" not in operators(routed(Problem(1, 1)))


@pytest.mark.parametrize("options", [Options(), Options("silu", 1.7, 0.8, 1.0)], ids=["swiglu", "clamped"])
def test_rows_between_projections_are_described(options: Options) -> None:
    """The lowering of products reads from the axis that an expert may have no rows."""
    seen = []

    def record(node: ir.Node, op: Any) -> Any:
        x, weight = node.inputs[0], node.inputs[1]
        assert x is not None
        assert weight is not None
        assert weight.shape is not None
        for rows, axis in ((x, 1), (node.outputs[0], 0)):
            assert rows.dtype == FLOAT
            assert rows.shape == ir.Shape([EXPERT_ROWS, weight.shape[axis]])
        seen.append(node.name)
        return portable.linear(node, op)

    lowered(Problem(3, 2, options=options), routed_experts, record)
    assert len(seen) == 3 * 3


@pytest.mark.parametrize(("bits", "most"), [(8, 0.03), (4, 0.2)], ids=["int8", "int4"])
def test_quantized_experts_are_near(bits: Bits, most: float) -> None:
    problem = Problem(20, 2, biased=True)
    graph = lowered(problem, routed_experts, QuantizedWeights(bits, CPU, stored_rows.linear).linear)
    operator = {8: "MatMulIntegerToFloat", 4: "MatMulNBits"}[bits]
    assert operators(graph).count(operator) == 3 * 20
    filled(graph, slots(problem.stacks()))
    for batch, seq in ((1, 1), (2, 7)):  # most experts have no rows
        assert 0 < relative_error(problem, graph, batch, seq) < most


def test_int4_experts_have_one_form() -> None:
    problem = Problem(20, 2, biased=True)
    graph = lowered(problem, routed_experts, Int4Products(stored_rows.linear, least=1).linear)
    assert "If" not in operators(graph)
    filled(graph, slots(problem.stacks()))
    assert 0 < relative_error(problem, graph, 2, 7) < 0.2
