"""Experts as products of stacked matrices, next to the torch operator."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from archc.compiler.lowerings.experts import batched
from archc.compiler.lowerings.experts.batched import batched_experts, stack_size
from archc.compiler.lowerings.linear import portable
from archc.compiler.lowerings.linear.dequantized import DequantizedWeights
from archc.compiler.weights.formats.symmetric import NumberFormat
from archc.compiler.weights.lazy import StackedWeight
from tests.compiler.graphs import filled, operators, run, weights_of
from tests.compiler.lowerings.experts.cases import (
    BIASED,
    GATED,
    INNER,
    WIDTH,
    Options,
    Problem,
    check_equal,
    check_unused_is_unread,
    lowered,
    relative_error,
    slots,
    slots_of,
)

FLOAT16 = ir.DataType.FLOAT16


def stacked(problem: Problem) -> ir.Model:
    return lowered(problem, batched_experts, portable.linear)


def of_four(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let twelve experts fill three stacks of four: five would fit, but do not divide them."""
    monkeypatch.setattr(batched, "_WIDEST", 5 * WIDTH)


@pytest.mark.parametrize("stacks", [1, 3], ids=["one-stack", "three-stacks"])
def test_numbers_of_experts_that_a_token_does_not_use_do_not_reach_it(
    stacks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batched, "_WIDEST", 6 // stacks * WIDTH)
    check_unused_is_unread(Problem(6, 2), batched_experts, portable.linear)


@pytest.mark.parametrize(
    ("experts", "widest", "count"),
    [(8, 14336, 4), (128, 2048, 32), (60, 2048, 30), (7, 2**20, 1)],
    ids=["half", "quarter", "divisor", "wider-than-a-stack"],
)
def test_the_results_of_a_stack_are_bounded(experts: int, widest: int, count: int) -> None:
    assert stack_size(experts, widest) == count


@BIASED
@GATED
def test_experts_in_several_stacks(gated: bool, biased: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    of_four(monkeypatch)
    problem = Problem(12, 3, gated, biased)
    graph = stacked(problem)
    assert operators(graph).count("MatMul") == 3 * (2 + gated)
    matrices = [node.inputs[1].const_value for node in graph.graph if node.op_type == "MatMul"]  # type: ignore[union-attr]
    assert {tensor.sizes[0] for tensor in matrices if isinstance(tensor, StackedWeight)} == {4}
    check_equal(problem, graph)


def test_the_wider_of_both_sizes_bounds_a_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    assert WIDTH > INNER
    monkeypatch.setattr(batched, "_WIDEST", 4 * WIDTH)
    assert operators(stacked(Problem(8, 2))).count("MatMul") == 2 * 3


def test_a_stack_has_the_slots_of_its_experts(monkeypatch: pytest.MonkeyPatch) -> None:
    of_four(monkeypatch)
    stored = weights_of(stacked(Problem(12, 3, biased=True)))
    for name, shape in (("up", (4, WIDTH, INNER)), ("down", (4, INNER, WIDTH)), ("gate", (4, WIDTH, INNER))):
        for start in (0, 4, 8):
            matrices, biases = stored[f"{name}.{start}.transpose"], stored[f"{name}_bias.{start}"]
            assert matrices.slots == tuple(slots_of(name, 12)[start : start + 4])
            assert biases.slots == tuple(slots_of(f"{name}_bias", 12)[start : start + 4])
            assert (matrices.sizes, biases.sizes) == (shape, (4, 1, shape[-1]))
    assert len(stored) == 3 * 3 * 2


@pytest.mark.parametrize("options", [Options(), Options("silu", 1.7, 0.8, 1.0)], ids=["swiglu", "clamped"])
def test_float16_has_constants_of_its_own_dtype(options: Options) -> None:
    problem = Problem(5, 2, biased=True, options=options, dtype=FLOAT16)
    feeds = problem.feeds(2, 7)
    (y,) = run(filled(stacked(problem), slots(problem.stacks())), feeds)
    assert y.dtype == np.float16
    exact = problem.expected(feeds)
    assert np.abs(y - exact).max() < 5e-3 * np.abs(exact).max()


@BIASED
@pytest.mark.parametrize(("kind", "most"), [("int8", 0.03), ("int4", 0.25), ("fp8", 0.1)], ids=["int8", "int4", "fp8"])
@pytest.mark.parametrize("stacks", [1, 3], ids=["one-stack", "three-stacks"])
def test_quantized_experts_are_near(
    stacks: int, kind: NumberFormat, most: float, biased: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batched, "_WIDEST", 12 // stacks * WIDTH)
    problem = Problem(12, 3, biased=biased)
    graph = lowered(problem, batched_experts, DequantizedWeights(kind).linear)
    assert operators(graph).count("DequantizeLinear") == 3 * stacks
    assert operators(graph).count("MatMul") == 3 * stacks
    filled(graph, slots(problem.stacks()))
    for batch, seq in ((1, 1), (2, 7)):
        assert 0 < relative_error(problem, graph, batch, seq) < most
