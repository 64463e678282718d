"""Experts as a Scan, next to the torch operator."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from archc.compiler.graph.values import subgraphs
from archc.compiler.lowerings.experts.scanned import scanned_experts
from archc.compiler.lowerings.linear import portable
from archc.compiler.weights.steps import Transpose
from tests.compiler.graphs import filled, operators, run, weights_of
from tests.compiler.lowerings.experts.cases import (
    BIASED,
    EVERY_OPTION,
    GATED,
    INNER,
    WIDTH,
    Options,
    Problem,
    check_unused_is_unread,
    lowered,
    slots,
)

FLOAT16 = ir.DataType.FLOAT16


def scanned(problem: Problem) -> ir.Model:
    return lowered(problem, scanned_experts, portable.linear)


def body_of(graph: ir.Model) -> ir.Graph:
    """The one body of a Scan."""
    (scan,) = (node for node in graph.graph if node.op_type == "Scan")
    (body,) = subgraphs(scan)
    return body


def test_numbers_of_experts_that_a_token_does_not_use_do_not_reach_it() -> None:
    check_unused_is_unread(Problem(6, 2), scanned_experts, portable.linear)


@EVERY_OPTION
def test_the_body_captures_nothing(gated: bool, biased: bool, options: Options) -> None:
    body = body_of(scanned(Problem(5, 2, gated, biased, options)))
    inner = {*body.inputs, *(output for node in body for output in node.outputs)}
    captured = [item.name for node in body for item in node.inputs if item is not None and item not in inner]
    assert captured == []
    assert not body.initializers
    assert all(not list(subgraphs(node)) for node in body)
    assert "Swish" not in [node.op_type for node in body], "activations of the body are lowered too"


def test_the_scan_has_as_many_nodes_for_any_number_of_experts() -> None:
    graphs = [scanned(Problem(count, 2, biased=True)) for count in (2, 64)]
    assert len({len(list(graph.graph.all_nodes())) for graph in graphs}) == 1
    assert [operators(graph).count("Scan") for graph in graphs] == [1, 1]


@BIASED
@GATED
def test_weights_are_stored_as_stacks(gated: bool, biased: bool) -> None:
    graph = scanned(Problem(5, 2, gated, biased))
    names = ("up", "down", *["gate"] * gated)
    shapes = {"up": (5, WIDTH, INNER), "down": (5, INNER, WIDTH), "gate": (5, WIDTH, INNER)}
    stored = weights_of(graph)
    assert {name: stored[f"{name}.transpose"].sizes for name in names} == {name: shapes[name] for name in names}
    assert {stored[f"{name}.transpose"].steps for name in names} == {(Transpose(),)}
    assert len(stored) == len(names) * (1 + biased)


@pytest.mark.parametrize("options", [Options(), Options("silu", 1.7, 0.8, 1.0)], ids=["swiglu", "clamped"])
def test_float16_has_constants_of_its_own_dtype(options: Options) -> None:
    problem = Problem(5, 2, biased=True, options=options, dtype=FLOAT16)
    graph = scanned(problem)
    types = {item.dtype for item in body_of(graph).inputs}
    assert types == {FLOAT16}
    feeds = problem.feeds(2, 7)
    (y,) = run(filled(graph, slots(problem.stacks())), feeds)
    assert y.dtype == np.float16
    exact = problem.expected(feeds)
    assert np.abs(y - exact).max() < 5e-3 * np.abs(exact).max()
