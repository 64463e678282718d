"""Ifs with one condition become one, and the graph computes the same."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.passes.merge_ifs import MergeIfs
from tests.compiler.graphs import operators, run, typed, value

FLOAT, BOOL = ir.DataType.FLOAT, ir.DataType.BOOL
SHAPE = ("rows", 4)


class Chain:
    """A graph with one condition, built node by node."""

    def __init__(self) -> None:
        self.x, self.many, self.other = value("x", FLOAT, *SHAPE), value("many", BOOL), value("other", BOOL)
        inputs = [self.x, self.many, self.other]
        self.graph = ir.Graph(inputs, [], nodes=[], opset_imports={"": 24}, name="test")
        self.op = GraphBuilder(self.graph, "test")

    def node(self, name: str, op_type: str, *inputs: ir.Value) -> ir.Value:
        return typed(self.op.node(op_type, *inputs), name, FLOAT, *SHAPE)

    def choice(
        self, name: str, x: ir.Value, condition: ir.Value | None = None, op: GraphBuilder | None = None
    ) -> ir.Value:
        """−x if the condition holds, |x| + 1 if not; nodes of `op`, by default of the main graph."""
        op = op or self.op
        then, otherwise = op.nested(f"{name}.then"), op.nested(f"{name}.else")
        negated = typed(then.Neg(x), f"{name}.negated", FLOAT, *SHAPE)
        one = otherwise.constant(np.ones(4, np.float32))
        more = typed(otherwise.Add(otherwise.Abs(x), one), f"{name}.more", FLOAT, *SHAPE)
        branches = {"then_branch": then.subgraph([negated]), "else_branch": otherwise.subgraph([more])}
        return typed(op.If(condition or self.many, **branches), name, FLOAT, *SHAPE)

    def model(self, *outputs: ir.Value) -> ir.Model:
        self.graph.extend(self.op.nodes)
        self.graph.outputs.extend(outputs)
        return ir.Model(self.graph, ir_version=11)


def merged(chain: Chain, *outputs: ir.Value, modified: bool = True) -> list[str]:
    """The operators of the main graph after the pass, which changes no number, name or type of an output."""
    graph_model = chain.model(*outputs)
    described = [(output.name, output.dtype, str(output.shape)) for output in graph_model.graph.outputs]
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    feeds = [{"x": x, "many": np.array(many), "other": np.array(o)} for many in (True, False) for o in (True, False)]
    expected = [run(graph_model, feed) for feed in feeds]
    assert MergeIfs()(graph_model).modified is modified
    for feed, results in zip(feeds, expected, strict=True):
        for actual, result in zip(run(graph_model, feed), results, strict=True):
            np.testing.assert_array_equal(actual, result)
    assert [(output.name, output.dtype, str(output.shape)) for output in graph_model.graph.outputs] == described
    return operators(graph_model)


def test_nodes_between_are_in_both_branches() -> None:
    chain = Chain()
    between = chain.node("between", "Sin", chain.choice("first", chain.x))
    second = chain.choice("second", chain.node("sum", "Add", between, chain.x))
    third = chain.choice("third", second)
    assert merged(chain, third) == ["If"]
    (joined,) = chain.graph
    branches = {name: [node.op_type for node in joined.attributes[name].as_graph()] for name in joined.attributes}
    assert branches == {
        "then_branch": ["Neg", "Sin", "Add", "Neg", "Neg"],
        "else_branch": ["Abs", "Add", "Sin", "Add", "Abs", "Add", "Abs", "Add"],
    }


def test_values_that_others_read_are_outputs_and_their_readers_follow() -> None:
    chain = Chain()
    first = chain.choice("first", chain.x)
    further = chain.node("further", "Sin", chain.node("aside", "Cos", first))
    before = chain.node("before", "Exp", chain.x)
    second = chain.choice("second", chain.node("sum", "Add", first, before))
    last = chain.node("last", "Add", second, further)
    assert merged(chain, last, first) == ["Exp", "If", "Cos", "Sin", "Add"]


def test_choices_that_do_not_depend_on_each_other_are_merged() -> None:
    chain = Chain()
    both = [chain.choice("first", chain.x), chain.choice("second", chain.node("e", "Exp", chain.x))]
    assert merged(chain, *both) == ["Exp", "If"]


def test_names_within_both_branches_differ() -> None:
    chain = Chain()
    between = chain.node("between", "Sin", chain.choice("first", chain.x))
    graph_model = chain.model(chain.choice("second", between))
    MergeIfs()(graph_model)
    names = [output.name for node in graph_model.graph.all_nodes() for output in node.outputs]
    assert len(names) == len(set(names))
    assert None not in names


def test_a_choice_with_another_condition_stays_apart() -> None:
    chain = Chain()
    second = chain.choice("second", chain.choice("first", chain.x), chain.other)
    assert merged(chain, chain.choice("third", second), modified=False) == ["If", "If", "If"]


def test_a_product_with_a_matrix_stays_in_the_main_graph() -> None:
    chain = Chain()
    matrix = chain.op.constant(np.eye(4, dtype=np.float32))
    product = chain.node("product", "MatMul", chain.choice("first", chain.x), matrix)
    second = chain.choice("second", chain.node("after", "Sin", product))
    assert merged(chain, second, modified=False) == ["If", "MatMul", "Sin", "If"]


def test_a_sum_with_a_vector_is_in_both_branches() -> None:
    chain = Chain()
    biased = chain.node("sum", "Add", chain.choice("first", chain.x), chain.op.constant(np.ones(4, np.float32)))
    assert merged(chain, chain.choice("second", biased)) == ["If"]


def test_a_graph_output_is_computed_once() -> None:
    chain = Chain()
    between = chain.node("between", "Sin", chain.choice("first", chain.x))
    second = chain.choice("second", between)
    assert merged(chain, second, between, modified=False) == ["If", "Sin", "If"]


def test_an_update_of_a_cache_stays_in_the_main_graph() -> None:
    """Within a branch the whole cache would be copied."""
    chain = Chain()
    cache = value("cache", FLOAT, 1, 1, 8, 4)
    chain.graph.inputs.append(cache)
    rows = chain.op.Unsqueeze(chain.choice("first", chain.x), chain.op.ints(0, 1))
    written = chain.op.TensorScatter(cache, rows, chain.op.ints(2), axis=-2)
    live = chain.op.Slice(written, chain.op.ints(2), chain.op.ints(5), chain.op.ints(2))
    again = chain.node("again", "Squeeze", live, chain.op.ints(0, 1))
    graph_model = chain.model(chain.choice("second", again))
    assert not MergeIfs()(graph_model).modified
    assert operators(graph_model).count("If") == 2


def test_a_node_with_subgraphs_stays_between() -> None:
    chain = Chain()
    first = chain.choice("first", chain.x)
    between = chain.node("sum", "Add", chain.choice("nested", first, chain.other), first)
    assert merged(chain, chain.choice("second", between), modified=False) == ["If", "If", "Add", "If"]


def test_a_choice_within_a_branch_stays_apart() -> None:
    chain = Chain()
    then, otherwise = chain.op.nested("then"), chain.op.nested("else")
    deep = chain.choice("deep", chain.x, chain.other, then)
    shallow = typed(otherwise.Neg(chain.x), "shallow", FLOAT, *SHAPE)
    branches = {"then_branch": then.subgraph([deep]), "else_branch": otherwise.subgraph([shallow])}
    first = typed(chain.op.If(chain.many, **branches), "first", FLOAT, *SHAPE)
    assert merged(chain, chain.choice("second", first), modified=False) == ["If", "If"]


def test_a_branch_whose_result_is_of_the_main_graph_stays_apart() -> None:
    chain = Chain()
    outside = chain.node("outside", "Exp", chain.x)
    then, otherwise = chain.op.nested("then"), chain.op.nested("else")
    branches = {
        "then_branch": then.subgraph([typed(then.Neg(chain.x), "negated", FLOAT, *SHAPE)]),
        "else_branch": otherwise.subgraph([outside]),
    }
    first = typed(chain.op.If(chain.many, **branches), "first", FLOAT, *SHAPE)
    graph_model = chain.model(chain.choice("second", first))
    assert not MergeIfs()(graph_model).modified
    assert operators(graph_model) == ["Exp", "If", "If"]
