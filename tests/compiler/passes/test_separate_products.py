"""Products of dequantized weights that read one activation: separate next to a loop or to shared weights."""

from __future__ import annotations

from typing import Literal

import numpy as np
import onnx_ir as ir
import pytest

from archc.compiler.contract.rings import Rings
from archc.compiler.passes.separate_products import SeparateProducts
from archc.compiler.targets import Choices, tensorrt
from archc.compiler.weights.formats.symmetric import NumberFormat
from tests.compiler.graphs import describe, filled, model, operators, run, semantic, value, weight, weights_of
from tests.compiler.lowerings.linear.cases import FLOAT, normal
from tests.compiler.lowerings.linear.dequantized import EYE, check_near, dequantized

Reason = Literal["loop", "layer", "nothing"]
REASONS = pytest.mark.parametrize("reason", ["loop", "layer", "nothing"])
KINDS = pytest.mark.parametrize(("kind", "most"), [("int8", 0.5 / 127), ("fp8", 16 / 448)], ids=["int8", "fp8"])
SLOTS = {slot: normal(6, 64, seed=seed) for seed, slot in enumerate("abc")}


def products(reason: Reason, kind: NumberFormat, activations: int = 1) -> ir.Model:
    """Three products of one activation, or as many activations, with dequantized weights.

    `loop` adds a Scan, `layer` another layer with the weights of two of them, in the other order.
    """
    inputs = [value(f"x{index}" if index else "x", FLOAT, "n", 64) for index in range(activations)]
    x, weights = inputs[0], [weight(slot, 6, 64) for slot in SLOTS]
    nodes = [
        semantic("Linear", [inputs[index % activations], table], f"{table.name}.y", ["n", 6])
        for index, table in enumerate(weights)
    ]
    outputs = [node.outputs[0] for node in nodes]
    if reason == "layer":
        negated = ir.Node("", "Neg", [x], name="z")
        describe(negated, "z", ["n", 64])
        more = [semantic("Linear", [*negated.outputs, table], f"{table.name}.y2", ["n", 6]) for table in weights[1::-1]]
        nodes += [negated, *more]
        outputs += [node.outputs[0] for node in more]
    if reason == "loop":
        nodes.append(scan(x))
        outputs.append(nodes[-1].outputs[0])
    return dequantized(model(inputs, nodes, outputs, weights), kind)


def scan(x: ir.Value) -> ir.Node:
    """A loop over the rows of x that returns them."""
    row = value("row", FLOAT, 64)
    same = ir.Node("", "Identity", [row], name="same")
    describe(same, "out", [64])
    body = ir.AttrGraph("body", ir.Graph([row], same.outputs, nodes=[same], name="body"))
    node = ir.Node("", "Scan", [x], [body, ir.AttrInt64("num_scan_inputs", 1)], name="loop")
    describe(node, "rows", ["n", 64])
    return node


def matmuls(graph: ir.Model) -> list[ir.Node]:
    return [node for node in graph.graph if node.op_type == "MatMul"]


def results(graph: ir.Model) -> list[np.ndarray]:
    feeds = {item.name: EYE for item in graph.graph.inputs}
    return run(filled(graph, SLOTS), feeds)


@KINDS
@REASONS
def test_next_to_a_loop_or_shared_weights_products_share_no_input(
    reason: Reason, kind: NumberFormat, most: float
) -> None:
    graph = products(reason, kind)
    SeparateProducts()(graph)
    read = [node.inputs[0] for node in matmuls(graph)]
    assert len(read) == (5 if reason == "layer" else 3)
    assert len(set(read)) == (1 if reason == "nothing" else len(read))
    exact = [*SLOTS.values(), *([-SLOTS["b"], -SLOTS["a"]] if reason == "layer" else [])]
    computed = results(graph)[: len(exact)]
    for numbers, matrix_NK in zip(computed, exact, strict=True):
        check_near(numbers, matrix_NK.t().numpy(), 0, most)


@KINDS
@pytest.mark.parametrize("reason", ["loop", "layer"])
def test_powers_of_two_change_no_number(reason: Reason, kind: NumberFormat, most: float) -> None:
    separate = products(reason, kind)
    assert SeparateProducts()(separate).modified
    for numbers, before in zip(results(separate), results(products(reason, kind)), strict=True):
        np.testing.assert_array_equal(numbers, before)


@KINDS
def test_the_second_input_is_half_and_the_third_a_quarter(kind: NumberFormat, most: float) -> None:
    graph, before = products("loop", kind), products("loop", kind)
    SeparateProducts()(graph)
    (unit,) = {float(node.inputs[1].const_value.numpy()) for node in before.graph if node.op_type == "DequantizeLinear"}
    first, *others = matmuls(graph)
    assert first.inputs[0] is graph.graph.inputs[0]
    for times, node in enumerate(others, 1):
        halved, dequantizer = (node.inputs[index].producer() for index in (0, 1))
        assert halved.op_type == "Mul"
        assert halved.inputs[0] is graph.graph.inputs[0]
        assert float(halved.inputs[1].const_value.numpy()) == 2.0**-times
        assert float(dequantizer.inputs[1].const_value.numpy()) == unit * 2**times


@KINDS
def test_weights_are_stored_once_and_no_dequantizer_is_left_without_readers(kind: NumberFormat, most: float) -> None:
    graph, before = products("layer", kind), products("layer", kind)
    SeparateProducts()(graph)
    assert list(weights_of(graph)) == list(weights_of(before))
    dequantizers = [node for node in graph.graph if node.op_type == "DequantizeLinear"]
    assert all(node.outputs[0].uses() for node in dequantizers)
    # a: 1 and 2, as the second of the other layer; b: 2 and 1; c: 4.
    assert len(dequantizers) == 5
    assert len({node.name for node in graph.graph}) == len(graph.graph)


def test_one_multiple_of_a_weight_is_built_once() -> None:
    """Two layers with the same weights in the same order."""
    inputs, weights = [value(name, FLOAT, "n", 64) for name in ("x", "z")], [weight(slot, 6, 64) for slot in "ab"]
    nodes = [semantic("Linear", [x, w], f"{x.name}.{w.name}", ["n", 6]) for x in inputs for w in weights]
    graph = dequantized(model(inputs, nodes, [node.outputs[0] for node in nodes], weights), "int8")
    SeparateProducts()(graph)
    assert operators(graph).count("DequantizeLinear") == 2
    assert len({node.inputs[1] for node in matmuls(graph)}) == 2


@pytest.mark.parametrize("dtype", [ir.DataType.FLOAT16, ir.DataType.BFLOAT16], ids=["float16", "bfloat16"])
def test_factors_have_the_dtype_of_activations(dtype: ir.DataType) -> None:
    x, weights = value("x", dtype, "n", 64), [weight(slot, 6, 64, dtype=dtype) for slot in "ab"]
    nodes = [semantic("Linear", [x, table], f"{table.name}.y", ["n", 6], dtype) for table in weights]
    loop = scan(value("items", FLOAT, "n", 64))
    graph = dequantized(
        model([x, *loop.inputs], [*nodes, loop], [node.outputs[0] for node in (*nodes, loop)], weights), "int8"
    )
    SeparateProducts()(graph)
    second = matmuls(graph)[1]
    factors = [node.producer().inputs[1].dtype for node in second.inputs]
    assert factors == [dtype, dtype]


def test_products_with_float_weights_stay() -> None:
    x, loop = value("x", FLOAT, "n", 64), scan(value("items", FLOAT, "n", 64))
    nodes = [ir.Node("", "MatMul", [x, value(name, FLOAT, 64, 6)], name=name) for name in ("u", "v")]
    for node in nodes:
        describe(node, f"{node.name}.y", ["n", 6])
    inputs = [x, *loop.inputs, *(node.inputs[1] for node in nodes)]
    graph = model(inputs, [*nodes, loop], [node.outputs[0] for node in (*nodes, loop)])
    assert not SeparateProducts()(graph).modified
    assert operators(graph) == ["MatMul", "MatMul", "Scan"]


@pytest.mark.parametrize("reason", ["nothing", "loop"])
def test_a_graph_without_products_of_one_activation_stays(reason: Reason) -> None:
    """Next to nothing, and next to a loop if every product has an activation of its own."""
    graph, before = (products(reason, "int8", activations=3 if reason == "loop" else 1) for _ in range(2))
    assert not SeparateProducts()(graph).modified
    assert operators(graph) == operators(before)
    for numbers, same in zip(results(graph), results(before), strict=True):
        np.testing.assert_array_equal(numbers, same)


@pytest.mark.parametrize(
    ("quantization", "has"),
    [(None, False), ("int8", True), ("int4", False), ("fp8", True)],
    ids=["none", "int8", "int4", "fp8"],
)
def test_targets_have_the_pass_for_scales_of_outputs(quantization: str | None, has: bool) -> None:
    """TensorRT's joining fails for them alone: int4 has a scale for each block."""
    passes = tensorrt.lowering(Choices(Rings(), slots=64, decodes=True, quantization=quantization))
    assert any(isinstance(item, SeparateProducts) for item in passes) is has
