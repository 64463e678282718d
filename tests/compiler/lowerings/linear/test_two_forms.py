"""Int4 products for few rows and for many: the same weights, one exact answer, one If for each activation."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from numpy.typing import NDArray

from archc.compiler.graph.axes import ASKED, EXPERT_ROWS
from archc.compiler.lowerings.linear import stored_rows
from archc.compiler.lowerings.linear.two_forms import MANY_ROWS, Int4Products
from archc.compiler.weights.formats.blocks import quantize_blocks, row_scales
from archc.runtime.backends.ort.saturation import saturates
from tests.compiler.graphs import filled, model, operators, run, semantic, value, weight, weights_of
from tests.compiler.lowerings.linear.cases import (
    FLOAT,
    SEQUENCES,
    SIZES,
    Axes,
    K,
    check_exact,
    lookup,
    lowered,
    product,
    projections,
    slots,
    whole_by_block,
    whole_by_row,
)

BIASED = pytest.mark.parametrize("biased", [False, True], ids=["plain", "bias"])
CONDITION = ["Size", "GreaterOrEqual", "Cast", "Mul"]
QUANTIZED_ROWS = ["Abs", "ReduceMax", "Max", "Div", "QuantizeLinear"]
ALL = 32 * K  # numbers of both matrices
LARGEST = 63 if saturates() else 127  # of an activation in the form for many rows


def in_two_forms(graph: ir.Model, least: int = 1) -> ir.Model:
    """The graph with its products lowered."""
    products = Int4Products(stored_rows.linear, least)
    return lowered(graph, products.linear, products.lookup)


def built(biased: bool = False, normed: bool = False) -> ir.Model:
    """Both forms of two products, the first perhaps with a bias, with their numbers."""
    return filled(in_two_forms(projections(["q"] * biased, normed=normed)), slots())


def stored(name: str) -> NDArray[np.float64]:
    """The weights that the integers and scales of a matrix stand for."""
    table = slots()[f"{name}.weight"]
    integers, scales = quantize_blocks(table, 4, 32, row_scales_N1=row_scales(table, 4))
    return ((integers.double() - 8) * scales.double().unsqueeze(-1)).flatten(1).numpy()


def branches(node: ir.Node) -> tuple[list[str], list[str]]:
    """The operators for many rows and for few."""
    graphs = (node.attributes[name].as_graph() for name in ("then_branch", "else_branch"))
    many, few = ([inner.op_type for inner in graph] for graph in graphs)
    return many, few


def choices(graph: ir.Model) -> list[ir.Node]:
    return [node for node in graph.graph if node.op_type == "If"]


def several(activations: Sequence[str], names: Collection[str], least: int) -> ir.Model:
    """Products of several activations with a matrix of each name, lowered."""
    inputs = [value(name, FLOAT, *SEQUENCES, K) for name in activations]
    weights = [weight(f"{x.name}.{name}", 8, K) for x in inputs for name in names]
    nodes = [
        semantic("Linear", [inputs[index // len(names)], table], f"{table.name}.y", [*SEQUENCES, 8])
        for index, table in enumerate(weights)
    ]
    return in_two_forms(model(inputs, nodes, [node.outputs[0] for node in nodes], weights), least)


@BIASED
@pytest.mark.parametrize("shape", [(1, MANY_ROWS), (3, 100)], ids=["one-sequence", "three-sequences"])
def test_unpacked_weights_are_exactly_the_packed_ones(biased: bool, shape: tuple[int, ...]) -> None:
    x = whole_by_row(*shape, K, largest=LARGEST)
    check_both(run(built(biased), {"x": x}), x, biased)


@BIASED
@pytest.mark.parametrize("shape", [(1, 1), (5, 51)], ids=["one-row", "one-row-too-few"])
def test_packed_weights_are_exactly_their_formula(biased: bool, shape: tuple[int, ...]) -> None:
    x = whole_by_block(*shape, K)
    check_both(run(built(biased), {"x": x}), x, biased)


def check_both(results: Sequence[NDArray[np.float32]], x: NDArray[np.float32], biased: bool) -> None:
    for name, result in zip(SIZES, results, strict=True):
        check_exact(result, x @ stored(name).T + (slots()["q.bias"].numpy() if biased and name == "q" else 0))


@pytest.mark.parametrize("normed", [False, True], ids=["any-rows", "normed"])
def test_few_and_many_rows_agree(normed: bool) -> None:
    x = np.random.default_rng(2).standard_normal((1, MANY_ROWS, K)).astype(np.float32)
    graph = built(biased=True, normed=normed)
    many, few = run(graph, {"x": x}), run(graph, {"x": x[:, 1:]})
    for one, other in zip(many, few, strict=True):
        off = np.abs(one[:, 1:] - other).max() / np.abs(other).max()
        assert 0 < off < 0.02  # each form rounds activations in its own way


def test_a_row_of_large_magnitude_leaves_the_others_their_digits() -> None:
    x = np.random.default_rng(3).standard_normal((1, MANY_ROWS, K)).astype(np.float32)
    x[0, 0] *= 1e4
    x[0, 5] = 0
    _, result = run(built(), {"x": x})
    exact = x @ stored("k").T
    half_a_step = np.abs(x).max(-1, keepdims=True) / (2 * LARGEST)
    assert (np.abs(result - exact) <= 1.0001 * half_a_step * np.abs(stored("k")).sum(-1)).all()
    assert not result[0, 5].any()


@BIASED
def test_the_products_of_an_activation_are_under_one_if(biased: bool) -> None:
    graph = in_two_forms(projections(["q"] * biased), least=ALL)
    assert operators(graph) == [*CONDITION, "If"]
    (choice,) = choices(graph)
    assert [output.name for output in choice.outputs] == [output.name for output in graph.graph.outputs] == ["q", "k"]
    many, few = branches(choice)
    assert few == ["MatMulNBits", "MatMulNBits"]
    assert many[:5] == QUANTIZED_ROWS, "once for both products"
    assert [name for name in many if name in ("MatMulIntegerToFloat", "BitShift")] == [
        "BitShift",
        "MatMulIntegerToFloat",
    ] * 2
    assert many.count("ReduceMax") == 1
    assert many.count("Add") == biased


@BIASED
def test_both_forms_read_the_same_integers(biased: bool) -> None:
    graph = in_two_forms(projections(["q"] * biased))
    parts = ("", ".multiple", ".row_scale", ".scale")
    names = [f"{name}.weight.int4{part}" for name in SIZES for part in parts]
    assert set(weights_of(graph)) == {*names, *["q.bias"] * biased}


def test_an_optimizer_does_not_unpack_the_weights(tmp_path: Path) -> None:
    proto = ir.serde.serialize_model(built()).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    onnxruntime.InferenceSession(proto, options, providers=["CPUExecutionProvider"])
    (choice,) = (node for node in onnx.load(tmp_path / "optimized.onnx").graph.node if node.op_type == "If")
    many = next(attribute.g for attribute in choice.attribute if attribute.name == "then_branch")
    assert [node.op_type for node in many.node].count("BitShift") == 2


def test_smaller_products_have_the_packed_form_alone() -> None:
    assert operators(in_two_forms(projections(), least=ALL + 1)) == ["MatMulNBits", "MatMulNBits"]
    assert operators(in_two_forms(projections(), least=ALL)) == [*CONDITION, "If"]
    assert Int4Products(stored_rows.linear).least == 2**19


def test_only_the_products_of_one_activation_count_together() -> None:
    assert operators(several("ab", "u", least=16 * K)) == ["MatMulNBits"] * 2
    assert operators(several("a", "uv", least=16 * K)) == [*CONDITION, "If"]


def test_the_condition_is_built_once() -> None:
    graph = several("ab", "uv", least=1)
    assert operators(graph) == [*CONDITION, "If", "If"]
    first, second = choices(graph)
    assert first.inputs[0] is second.inputs[0]
    assert [output.name for output in second.outputs] == ["b.u.y", "b.v.y"]


def test_each_graph_has_its_own_condition() -> None:
    products = Int4Products(stored_rows.linear, least=1)
    graphs = [lowered(projections(), products.linear, products.lookup) for _ in range(2)]
    conditions = {choices(graph)[0].inputs[0] for graph in graphs}
    assert len(conditions) == 2
    assert [operators(graph) for graph in graphs] == [[*CONDITION, "If"]] * 2


@pytest.mark.parametrize("axes", [(EXPERT_ROWS,), ("batch", ASKED)], ids=["rows-of-experts", "asked-rows"])
def test_rows_that_may_be_none_are_few(axes: Axes) -> None:
    assert operators(in_two_forms(product(axes=axes))) == ["MatMulNBits"]


def test_rows_that_a_call_always_has_may_be_many() -> None:
    assert operators(in_two_forms(product(axes=("rows",)))) == [*CONDITION, "If"]


def test_a_table_stays_apart_from_other_products_of_its_activation() -> None:
    graph = in_two_forms(projections(shared=True))
    assert sorted(operators(graph)) == sorted(
        ["MatMulNBits", *CONDITION, "If", "Unsqueeze", "GatherBlockQuantized", "Reshape"]
    )
    (choice,) = choices(graph)
    assert [output.name for output in choice.outputs] == ["k"]
    assert not any("row_scale" in name for name in weights_of(graph) if name.startswith("q."))
    filled(graph, slots())
    x = whole_by_block(1, 3, K)
    q, k, rows = run(graph, {"x": x, "ids": np.array([[3, 4]])})
    table = slots()["q.weight"]
    integers, scales = quantize_blocks(table, 4, 32)
    one_level = ((integers.double() - 8) * scales.double().unsqueeze(-1)).flatten(1).numpy()
    np.testing.assert_allclose(rows[0], one_level[[3, 4]], atol=1e-6)
    check_exact(q, x @ one_level.T)
    check_exact(k, x @ stored("k").T)


@pytest.mark.parametrize("slot", ["mlp.router.weight", "computed"])
def test_products_in_float_stay_apart_from_the_others_of_their_activation(slot: str) -> None:
    x, ours, other = value("x", FLOAT, *SEQUENCES, K), weight("w", 8, K), weight(slot, 8, K)
    nodes, source = [], other
    if slot == "computed":
        nodes = [ir.Node("", "Neg", [other], name="neg")]
        source = nodes[0].outputs[0]
        source.type, source.shape = other.type, other.shape
    linears = [semantic("Linear", [x, table], f"{table.name}.y", [*SEQUENCES, 8]) for table in (source, ours)]
    graph = in_two_forms(model([x], [*nodes, *linears], [node.outputs[0] for node in linears], [ours, other]))
    assert {"MatMulNBits", "FusedMatMul"} & set(operators(graph)) == {"FusedMatMul"}
    (choice,) = choices(graph)
    assert len(choice.outputs) == 1


def test_readers_of_another_kind_do_not_count() -> None:
    """A lookup of rows of the activation, and products in which it is the weight or the bias."""
    x, z, ids = value("x", FLOAT, 4, K), value("z", FLOAT, 4, K), value("ids", ir.DataType.INT64, 2)
    table, square = weight("w", 8, K), weight("v", K, K)
    nodes = [
        semantic("Linear", [x, table], "y", [4, 8]),
        lookup(x, ids, "rows", [2, K]),
        semantic("Linear", [x, x], "scores", [4, 4]),
        semantic("Linear", [z, square, x], "sum", [4, K]),
    ]
    graph = in_two_forms(model([x, z, ids], nodes, [node.outputs[0] for node in nodes], [table, square]))
    assert [[output.name for output in choice.outputs] for choice in choices(graph)] == [["y"], ["sum"]]


def test_a_product_in_a_branch_stays_there() -> None:
    x, asked = value("x", FLOAT, "rows", K), value("asked", ir.DataType.BOOL)
    table, other = weight("w", 8, K), weight("v", 8, K)
    inner = [semantic("Linear", [x, other], name, ["rows", 8]) for name in ("then_branch", "else_branch")]
    graphs = [ir.AttrGraph(node.name, ir.Graph([], node.outputs, nodes=[node])) for node in inner]
    choice = ir.Node("", "If", [asked], graphs, name="choice")
    nodes = [semantic("Linear", [x, table], "y", ["rows", 8]), choice]
    graph = in_two_forms(model([x, asked], nodes, [node.outputs[0] for node in nodes], [table, other]))
    assert [len(node.outputs) for node in choices(graph)] == [1, 1]
    assert all(node.graph is not graph.graph for node in inner)
    assert list(inner[0].inputs) == [x, other]
