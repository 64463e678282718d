"""Experts in each form, with every option, number of experts and activation, next to the torch operator."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from archc.compiler.lowerings.experts.batched import batched_experts
from archc.compiler.lowerings.experts.routed import routed_experts
from archc.compiler.lowerings.experts.scanned import scanned_experts
from archc.compiler.lowerings.linear import portable, stored_rows
from tests.compiler.graphs import filled, operators, run
from tests.compiler.lowerings.experts.cases import (
    EVERY_ACTIVATION,
    EVERY_OPTION,
    EVERY_SIZE,
    GATED,
    Options,
    Problem,
    check_equal,
    lowered,
    slots,
)

Form = Callable[[Problem], ir.Model]
FORMS: dict[str, Form] = {
    "batched": lambda problem: lowered(problem, batched_experts, portable.linear),
    "routed": lambda problem: lowered(problem, routed_experts, stored_rows.linear),
    "scanned": lambda problem: lowered(problem, scanned_experts, portable.linear),
}
EVERY_FORM = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


@EVERY_FORM
@EVERY_SIZE
@EVERY_OPTION
def test_experts_are_the_torch_operator(
    form: Form, gated: bool, biased: bool, options: Options, experts: int, used: int
) -> None:
    problem = Problem(experts, used, gated, biased, options)
    graph = form(problem)
    assert "Experts" not in operators(graph)
    assert list(graph.graph.opset_imports) == [""]
    check_equal(problem, graph)


@EVERY_FORM
def test_a_token_may_name_an_expert_twice(form: Form) -> None:
    problem = Problem(5, 3)
    graph, feeds = form(problem), problem.feeds(2, 7)
    feeds["chosen"][..., 2] = feeds["chosen"][..., 0]
    filled(graph, slots(problem.stacks()))
    np.testing.assert_allclose(run(graph, feeds)[0], problem.expected(feeds), rtol=1e-4, atol=1e-4)


@EVERY_FORM
@GATED
@EVERY_ACTIVATION
def test_every_activation(form: Form, function: str, gated: bool) -> None:
    problem = Problem(5, 2, gated, True, Options(function))
    check_equal(problem, form(problem))
