"""Latent attention on ONNX Runtime's CPU provider: absorbed, or expanded where that is cheaper for the call."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from archc.compiler.lowerings.attention.blocks import BLOCK, MANY, QueryBlocks
from archc.compiler.lowerings.attention.caches import FloatCaches
from archc.compiler.lowerings.attention.grouped import GroupedAttention
from archc.compiler.lowerings.attention.latent import GroupedLatentAttention
from archc.compiler.lowerings.attention.masks import AdditiveMasks
from archc.compiler.passes.clean import Clean
from tests.compiler.graphs import operators, run, weight
from tests.compiler.lowerings.attention.problems import FLOAT, Attention, LatentAttention, fill, lower, only

PROBLEM = LatentAttention()
LENGTHS = [(1, 1), (1, 40), (3, 40), (9, 9), (30, 40), (MANY + BLOCK - 1, MANY + 90)]
CONSTANT = {"then_branch": True, "else_branch": False}


def lowered(problem: LatentAttention = PROBLEM, streamed: bool = False) -> ir.Model:
    """Return the graph in both forms; `streamed` weights are initializers without numbers."""
    shapes = {"k_up": (problem.heads * problem.nope, problem.latent)}
    shapes["v_up"] = (problem.heads * problem.value, problem.latent)
    weights = [weight(name, *shape) for name, shape in shapes.items()] if streamed else []
    latent = GroupedLatentAttention(FloatCaches(), QueryBlocks(), AdditiveMasks())
    return lower(problem.model(weights), LatentAttention=latent)


def forms(model: ir.Model) -> list[ir.Node]:
    """Return the Ifs that choose between absorbed and expanded: their condition is a comparison of costs."""
    return [
        node
        for node in model.graph
        if node.op_type == "If" and node.inputs[0] is not None and node.inputs[0].producer().op_type == "Less"  # type: ignore[union-attr]
    ]


def only_form(branch: str, problem: LatentAttention = PROBLEM) -> ir.Model:
    """Return the graph with one branch of every choice, whatever the lengths."""
    model = lowered(problem)
    always = ir.tensor(np.array([CONSTANT[branch]]), name="always")
    model.graph.register_initializer(ir.Value(name="always", const_value=always))
    for node in forms(model):
        node.replace_input_with(0, model.graph.initializers["always"])
    return model


@pytest.mark.parametrize(("seq", "total"), LENGTHS)
def test_every_length_equals_the_torch_operator(seq: int, total: int) -> None:
    model = lowered()
    assert Clean()(model).modified
    feeds = PROBLEM.feeds(seq, total)
    np.testing.assert_allclose(run(model, feeds)[0], PROBLEM.expected(feeds), rtol=0, atol=1e-5)


@pytest.mark.parametrize("branch", ["then_branch", "else_branch"], ids=["expanded", "absorbed"])
@pytest.mark.parametrize(("seq", "total"), LENGTHS)
def test_each_form_equals_the_torch_operator(branch: str, seq: int, total: int) -> None:
    feeds = PROBLEM.feeds(seq, total)
    np.testing.assert_allclose(run(only_form(branch), feeds)[0], PROBLEM.expected(feeds), rtol=0, atol=1e-5)


@pytest.mark.parametrize("branch", ["then_branch", "else_branch"], ids=["expanded", "absorbed"])
def test_sinks_add_to_the_denominator(branch: str) -> None:
    problem = LatentAttention(sinks=True)
    feeds = problem.feeds(3, 40)
    np.testing.assert_allclose(run(only_form(branch, problem), feeds)[0], problem.expected(feeds), rtol=0, atol=1e-5)


def test_a_latent_without_rotated_key() -> None:
    problem = LatentAttention(rope=0)
    feeds = problem.feeds(3, 40)
    np.testing.assert_allclose(run(lowered(problem), feeds)[0], problem.expected(feeds), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("seq", "total", "expands"), [(1, 1, True), (1, 40, False), (3, 40, False), (30, 40, True)])
def test_a_prompt_expands_and_a_step_does_not(seq: int, total: int, expands: bool) -> None:
    model = lowered()
    Clean()(model)
    conditions = {node.inputs[0] for node in forms(model)}
    assert len(conditions) == 1, "layers with one mask compare the costs once"
    model.graph.outputs.append(conditions.pop())
    assert run(model, PROBLEM.feeds(seq, total))[1].tolist() == [expands]


def test_the_form_of_fewer_multiplications_is_built() -> None:
    """Count the multiplications of both forms over a grid of lengths."""
    h, n, r, v, width = PROBLEM.heads, PROBLEM.nope, PROBLEM.rope, PROBLEM.value, PROBLEM.latent
    model = lowered()
    condition = forms(model)[0].inputs[0]
    assert condition is not None
    model.graph.outputs[:] = [condition]
    for seq, total in [(1, 1), (1, 2), (2, 9), (4, 9), (5, 9), (6, 9), (7, 9), (7, 40), (20, 40), (25, 40)]:
        expanded = h * (total * width * (n + v) + seq * total * (n + r + v))
        absorbed = h * (seq * width * (n + v) + seq * total * (width + r + width))
        assert run(model, PROBLEM.feeds(seq, total))[0].tolist() == [expanded < absorbed], (seq, total)


def test_both_forms_read_the_weights_as_they_are_stored() -> None:
    model = lowered(streamed=True)
    assert operators(model).count("If") == 2 + 1  # one for each layer, and the bounds of blocks
    assert not {"Transpose", "Reshape"} & set(operators(model))
    stored = {name for name, value in model.graph.initializers.items() if not name.startswith("constant.")}
    assert stored == {"k_up.unflatten_3", "v_up.unflatten_3.transpose"}
    for choice in forms(model):
        for name in ("then_branch", "else_branch"):
            inner = choice.attributes[name].as_graph().all_nodes()
            read = {value.name for node in inner for value in node.inputs if value is not None}
            assert stored <= read, name
    numbers = PROBLEM.feeds(3, 40)
    weights = {name: numbers.pop(name) for name in ("k_up", "v_up")}
    result = run(fill(model, **weights), numbers)[0]
    np.testing.assert_allclose(result, PROBLEM.expected(numbers | weights), rtol=0, atol=1e-5)


def test_many_queries_run_in_blocks_in_both_forms() -> None:
    for choice in forms(lowered()):
        for name in ("then_branch", "else_branch"):
            branch = choice.attributes[name].as_graph()
            assert [node.op_type for node in branch].count("If") == 1
            assert [node.op_type for node in branch.all_nodes()].count("Loop") == 1


def test_the_output_keeps_its_name_type_and_shape() -> None:
    (output,) = lowered().graph.outputs
    assert (output.name, output.dtype, str(output.shape)) == ("y.1", FLOAT, "[batch,3,seq,5]")


def test_other_attention_has_one_form() -> None:
    attention = GroupedAttention(FloatCaches(), QueryBlocks(), AdditiveMasks())
    model = lower(Attention().model(), Attention=attention)
    assert not forms(model)
    assert only(model, "Where").outputs[0].dtype == FLOAT
