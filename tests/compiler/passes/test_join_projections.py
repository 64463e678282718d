"""Projections of one activation into heads as one product, whatever its weights are stored as."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch

from archc.compiler.build import build
from archc.compiler.lowerings.driver import Lowering
from archc.compiler.lowerings.linear import stored_rows
from archc.compiler.lowerings.linear.quantized import CPU, QuantizedWeights
from archc.compiler.lowerings.linear.two_forms import MANY_ROWS, Int4Products
from archc.compiler.passes.join_projections import JoinProjections
from archc.compiler.weights.lazy import JoinedRows, WeightTensor
from archc.compiler.weights.steps import Normalize
from archc.runtime.engine import load
from tests.compiler.graphs import describe, filled, model, operators, run, semantic, value, weight, weights_of
from tests.compiler.lowerings.linear.cases import FLOAT, K, lowered, projections, slots

HEADS = {"q": 3, "k": 1}
BIASED = pytest.mark.parametrize("biased", [[], ["q", "k"]], ids=["plain", "biases"])


def feeds(*shape: int) -> dict[str, np.ndarray[Any, Any]]:
    return {"x": np.random.default_rng(sum(shape)).standard_normal((*shape, K)).astype(np.float32)}


def check(
    linear: Callable[[], Lowering],
    biased: list[str],
    shape: tuple[int, int],
    normed: bool = False,
    heads: dict[str, int] = HEADS,
) -> list[str]:
    """The operators of one product for both projections, which has the results of two products."""
    apart, together = (projections(biased, heads, normed=normed) for _ in range(2))
    names = [(output.name, output.dtype, str(output.shape)) for output in together.graph.outputs]
    assert JoinProjections()(together).modified
    assert [node.op_type for node in together.graph if node.domain == "archc"][-2:] == ["Linear", "SplitHeads"]
    assert [(output.name, output.dtype, str(output.shape)) for output in together.graph.outputs] == names
    for graph in (apart, together):
        filled(lowered(graph, linear()), slots())
    results = [run(graph, feeds(*shape)) for graph in (together, apart)]
    for actual, expected in zip(*results, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)
    return operators(together)


@BIASED
def test_float32_products_are_one_with_one_bias(biased: list[str]) -> None:
    layout = ["Reshape", "Transpose", "Split"]
    added = ["Add"] * bool(biased)
    assert check(lambda: stored_rows.linear, biased, (2, 3)) == ["FusedMatMul", *added, *layout]


@BIASED
@pytest.mark.parametrize("rows", [1, MANY_ROWS], ids=["one-row", "many-rows"])
def test_int4_products_are_one(biased: list[str], rows: int) -> None:
    """Together they are large enough for two forms; the larger one alone is, too, in the graph with both apart."""
    apart = projections(biased, HEADS)
    together = projections(biased, HEADS)
    JoinProjections()(together)
    results = []
    for graph in (together, apart):
        filled(lowered(graph, Int4Products(stored_rows.linear, least=32 * K).linear), slots())
        assert operators(graph).count("If") == 1
        results.append(run(graph, feeds(1, rows)))
    assert operators(together)[-4:] == ["If", "Reshape", "Transpose", "Split"]
    for actual, expected in zip(*results, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


@BIASED
def test_small_int4_products_are_one_in_one_form(biased: list[str]) -> None:
    layout = ["Reshape", "Transpose", "Split"]
    assert check(lambda: QuantizedWeights(4, CPU, stored_rows.linear).linear, biased, (1, 5)) == [
        "MatMulNBits",
        *layout,
    ]


@BIASED
def test_int8_columns_are_next_to_each_other(biased: list[str]) -> None:
    found = check(lambda: QuantizedWeights(8, CPU, stored_rows.linear).linear, biased, (2, 3), normed=True)
    rows = ["Abs", "ReduceMax", "Max", "Div", "QuantizeLinear"]
    product = ["MatMulIntegerToFloat", "Mul", *["Add"] * bool(biased)]
    assert found == ["RMSNormalization", *rows, *product, "Reshape", "Transpose", "Split"]


def test_projections_into_several_heads_each_keep_their_order() -> None:
    check(lambda: stored_rows.linear, [], (2, 5), heads={"q": 6, "k": 2})


def test_the_joined_weight_streams_the_rows_of_both_in_order() -> None:
    graph = projections(["q", "k"], HEADS)
    JoinProjections()(graph)
    stored = weights_of(graph)
    assert {name: stored[name].slots for name in stored} == {
        "q+k.weight": ("q.weight", "k.weight"),
        "q+k.bias": ("q.bias", "k.bias"),
    }
    assert [str(stored[name].shape) for name in ("q+k.weight", "q+k.bias")] == ["[32,96]", "[32]"]


def test_joined_projections_are_not_joined_again() -> None:
    graph = projections([], HEADS)
    assert JoinProjections()(graph).modified
    before = operators(graph)
    assert not JoinProjections()(graph).modified
    assert operators(graph) == before == ["Linear", "SplitHeads", "Split"]


@pytest.mark.parametrize("others", [{}, {"heads": HEADS, "shared": True}], ids=["no heads", "a table"])
def test_products_without_heads_and_tables_stay(others: dict[str, Any]) -> None:
    """A matrix whose rows are looked up too would be stored twice."""
    stays(projections(**others))


def test_a_bias_of_one_of_two_keeps_them_apart() -> None:
    stays(projections(["q"], HEADS))


@pytest.mark.parametrize("heads", [{"q": 3, "k": 2}, {"q": 1, "k": 1}, {"q": 6, "k": 1}], ids=str)
def test_heads_of_different_widths_stay(heads: dict[str, int]) -> None:
    stays(projections([], heads))


@pytest.mark.parametrize("dtype", [ir.DataType.FLOAT16, ir.DataType.BFLOAT16], ids=["float16", "bfloat16"])
def test_other_dtypes_stay_unless_they_are_listed(dtype: ir.DataType) -> None:
    stays(projections([], HEADS, dtype=dtype))
    graph = projections([], HEADS, dtype=dtype)
    assert JoinProjections(frozenset({dtype}))(graph).modified
    (stored,) = weights_of(graph).values()
    assert stored.dtype == dtype


class Pair:
    """Two projections into heads whose nodes and weights a test changes before the graph is built."""

    def __init__(self) -> None:
        self.x, self.y = (value(name, FLOAT, "batch", "seq", K) for name in "xy")
        self.weights = {name: weight(f"{name}.weight", 8 * count, K) for name, count in HEADS.items()}
        self.sources = dict.fromkeys(HEADS, self.x)
        self.extra: list[ir.Node] = []
        self.between: str | None = None

    def graph(self) -> ir.Model:
        nodes, outputs = [], []
        for name, count in HEADS.items():
            shape = ["batch", "seq", 8 * count]
            linear = semantic("Linear", [self.sources[name], self.weights[name]], name, shape)
            nodes.append(linear)
            if self.between == name:
                nodes.append(ir.Node("", "Tanh", linear.outputs, name=f"{name}.between"))
                describe(nodes[-1], f"{name}.between", shape)
            split = ["batch", count, "seq", 8]
            nodes.append(semantic("SplitHeads", nodes[-1].outputs, f"{name}.heads", split, heads=count))
            outputs.append(nodes[-1].outputs[0])
        nodes += self.extra
        outputs += [node.outputs[0] for node in self.extra]
        return model([self.x, self.y], nodes, outputs, list(self.weights.values()))


def test_two_activations_stay_apart() -> None:
    pair = Pair()
    pair.sources["k"] = pair.y
    stays(pair.graph())


@pytest.mark.parametrize("reader", ["Neg", "Linear"])
def test_a_weight_that_another_node_reads_stays(reader: str) -> None:
    pair = Pair()
    if reader == "Neg":
        pair.extra.append(ir.Node("", "Neg", [pair.weights["k"]], name="other"))
        describe(pair.extra[0], "other", [8, K])
    else:
        pair.extra.append(semantic("Linear", [pair.y, pair.weights["k"]], "other", ["batch", "seq", 8]))
    stays(pair.graph())


def test_an_operator_between_a_product_and_its_heads_keeps_them_apart() -> None:
    pair = Pair()
    pair.between = "k"
    stays(pair.graph())


def test_a_product_that_another_node_reads_stays() -> None:
    graph = Pair().graph()
    linear = next(node for node in graph.graph if node.outputs[0].name == "k")
    other = ir.Node("", "Tanh", linear.outputs, name="other")
    describe(other, "other", ["batch", "seq", 8])
    graph.graph.append(other)
    graph.graph.outputs.append(other.outputs[0])
    stays(graph)


def test_a_product_that_is_an_output_stays() -> None:
    graph = Pair().graph()
    graph.graph.outputs.append(next(node for node in graph.graph if node.outputs[0].name == "k").outputs[0])
    stays(graph)


def test_weights_that_are_computed_or_changed_stay() -> None:
    pair = Pair()
    changed = weight("k.weight", 8, K).const_value
    assert isinstance(changed, WeightTensor)
    tensor = changed.then(Normalize(eps=1e-6))
    pair.weights["k"] = ir.Value(name=tensor.name, shape=tensor.shape, type=ir.TensorType(FLOAT), const_value=tensor)
    stays(pair.graph())
    pair = Pair()
    table = value("table", FLOAT, 8, K)
    graph = pair.graph()
    graph.graph.inputs.append(table)
    next(node for node in graph.graph if node.outputs[0].name == "k").replace_input_with(1, table)
    stays(graph)


def test_a_third_projection_that_does_not_fit_is_left_alone() -> None:
    pair = Pair()
    third = weight("v.weight", 30, K)
    graph = pair.graph()
    graph.graph.register_initializer(third)
    linear = semantic("Linear", [pair.x, third], "v", ["batch", "seq", 30])
    split = semantic("SplitHeads", linear.outputs, "v.heads", ["batch", 3, "seq", 10], heads=3)
    graph.graph.extend([linear, split])
    graph.graph.outputs.append(split.outputs[0])
    assert JoinProjections()(graph).modified
    assert sorted(weights_of(graph)) == ["q+k.weight", "v.weight"]


def test_weights_that_two_groups_of_products_share_stay() -> None:
    pair = Pair()
    third = weight("v.weight", 8, K)
    graph = pair.graph()
    graph.graph.register_initializer(third)
    # q, k and v of one activation, and q and k of another: joined, q and k would be stored twice.
    for name, source, table, heads in (
        ("v", pair.x, third, 1),
        ("q.other", pair.y, pair.weights["q"], 3),
        ("k.other", pair.y, pair.weights["k"], 1),
    ):
        linear = semantic("Linear", [source, table], name, ["batch", "seq", 8 * heads])
        split = semantic("SplitHeads", linear.outputs, f"{name}.heads", ["batch", heads, "seq", 8], heads=heads)
        graph.graph.extend([linear, split])
        graph.graph.outputs.append(split.outputs[0])
    stays(graph)


def stays(graph: ir.Model) -> None:
    """The pass leaves the graph alone."""
    before, stored = operators(graph), list(graph.graph.initializers)
    assert not JoinProjections()(graph).modified
    assert (operators(graph), list(graph.graph.initializers)) == (before, stored)
    assert not any(isinstance(tensor, JoinedRows) for tensor in weights_of(graph).values())


def test_joined_rows_are_the_rows_of_the_parts() -> None:
    graph = projections([], HEADS)
    JoinProjections()(graph)
    table = slots()
    joined = torch.cat([table["q.weight"], table["k.weight"]])
    (stored,) = weights_of(graph).values()
    assert torch.equal(torch.cat(list(stored.blocks(joined, torch.float32))), joined)


SHARED = """
family: tiny
extends: albert
sizes:
  tiny:
    {vocab_size: 64, embedding_size: 16, hidden_size: 32, intermediate_size: 48, num_hidden_layers: 3,
     num_attention_heads: 2, max_position_embeddings: 32, type_vocab_size: 2, hidden_act: gelu}
"""


@pytest.mark.parametrize("quantize", [None, "int8", "int4"], ids=["float32", "int8", "int4"])
def test_layers_that_share_weights_share_joined_ones(quantize: str | None, tmp_path: Path) -> None:
    spec = tmp_path / "tiny.yaml"
    spec.write_text(SHARED)
    engine = load(build(spec, random=3, size="tiny", out=tmp_path / "p.plan", quantize=quantize), threads=1)
    joined = [tensor.name for tensor in engine.manifest.tensors if "q+k+v.weight" in tensor.name]
    # Integers and scales are two tensors.
    assert len(joined) == {None: 1, "int8": 2, "int4": 2}[quantize]
    rows = [[5, 9, 2, 7]]
    plain = load(build(spec, random=3, size="tiny", out=tmp_path / "q.plan"), threads=1)
    for actual, expected in ((engine.encode(rows), plain.encode(rows)), (engine.logits(rows), plain.logits(rows))):
        largest = {None: 1e-6, "int8": 0.05, "int4": 0.6}[quantize] * np.abs(expected).max()
        assert np.abs(actual - expected).max() < largest
