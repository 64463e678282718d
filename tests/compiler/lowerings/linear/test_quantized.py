"""Products and lookups with int8 and int4 weights, next to the formulas of their formats and the torch operator."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
import pytest
import torch
from numpy.typing import NDArray

from archc.compiler.graph.axes import ASKED, EXPERT_ROWS
from archc.compiler.lowerings.linear import stored_rows
from archc.compiler.lowerings.linear.quantized import CPU, CUDA, Kernels, QuantizedWeights
from archc.compiler.weights.formats.blocks import quantize_blocks, row_scales
from archc.compiler.weights.formats.channels import ChannelFormat
from archc.compiler.weights.formats.format import Bits
from tests.compiler.graphs import filled, model, operators, run, semantic, value, weight, weights_of
from tests.compiler.lowerings.linear.cases import (
    FLOAT,
    SIZES,
    Axes,
    K,
    check_exact,
    expected,
    lowered,
    normal,
    product,
    slots,
    table_alone,
    tied,
    whole_by_block,
    whole_by_row,
)

N = SIZES["q"]
BITS = pytest.mark.parametrize("bits", [8, 4], ids=["int8", "int4"])
BIASED = pytest.mark.parametrize("biased", [False, True], ids=["plain", "bias"])
NORMED = pytest.mark.parametrize("normed", [False, True], ids=["any-rows", "normed"])
KERNELS = pytest.mark.parametrize("kernels", [CPU, CUDA], ids=["cpu", "cuda"])
QUANTIZED_ROWS = ["Abs", "ReduceMax", "Max", "Div", "QuantizeLinear"]
SLOTS = slots()
TABLES = {"w": SLOTS["q.weight"], "w.bias": SLOTS["q.bias"]}
EMBEDDING = {"embedding.tokens.weight": SLOTS["q.weight"], "head.bias": SLOTS["q.bias"]}


def quantized(graph: ir.Model, bits: Bits, kernels: Kernels = CPU) -> ir.Model:
    """The graph with its products and lookups lowered."""
    weights = QuantizedWeights(bits, kernels, stored_rows.linear)
    return lowered(graph, weights.linear, weights.lookup)


def channels(table: torch.Tensor) -> NDArray[np.float64]:
    """The weights that int8 integers and the scales of their outputs stand for."""
    parts = ChannelFormat().quantize(table, torch.float32)
    return (parts["integers"].double() * parts["scales"].double()[:, None]).numpy()


def blocks(table: torch.Tensor, bits: Bits, two_level: bool = False) -> NDArray[np.float64]:
    """The weights that integers and the scales of blocks stand for."""
    integers, scales = quantize_blocks(table, bits, 32, row_scales_N1=row_scales(table, bits) if two_level else None)
    return ((integers.double() - 2 ** (bits - 1)) * scales.double().unsqueeze(-1)).flatten(1).numpy()


def bias_of(tables: Mapping[str, torch.Tensor], name: str, biased: bool) -> NDArray[np.float32]:
    return tables[name].numpy() if biased else np.zeros(N, np.float32)


@BIASED
@NORMED
def test_int8_has_a_scale_for_each_output(normed: bool, biased: bool) -> None:
    graph = quantized(product(biased=biased, normed=normed), 8)
    before = [*["RMSNormalization"] * normed, *QUANTIZED_ROWS]
    assert operators(graph) == [*before, "MatMulIntegerToFloat", "Mul", *["Add"] * biased]
    stored = {name: (tensor.sizes, tensor.dtype) for name, tensor in weights_of(graph).items()}
    assert stored == {"w.channel": ((K, N), ir.DataType.INT8), "w.channel.scale": ((N,), FLOAT)} | (
        {"w.bias": ((N,), FLOAT)} if biased else {}
    )


@BIASED
def test_int8_is_exactly_its_formula(biased: bool) -> None:
    graph = filled(quantized(product(biased=biased), 8), TABLES)
    x = whole_by_row(2, 7, K)
    (y,) = run(graph, {"x": x})
    check_exact(y, x @ channels(TABLES["w"]).T + bias_of(TABLES, "w.bias", biased))


@BITS
def test_a_row_s_product_is_the_same_next_to_any_other_rows(bits: Bits) -> None:
    graph = filled(quantized(product(biased=True), bits), TABLES)
    x = normal(1, 7, K).numpy()
    others = [np.concatenate([x, scale * normal(1, 9, K, seed=2).numpy()], axis=1) for scale in (1e-3, 1.0, 1e3)]
    results = [run(graph, {"x": rows})[0][:, :7] for rows in others]
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


@BIASED
@pytest.mark.parametrize(
    ("bits", "kernels"), [(4, CPU), (4, CUDA), (8, CUDA)], ids=["int4-cpu", "int4-cuda", "int8-cuda"]
)
def test_blocks_have_a_scale_each(bits: Bits, kernels: Kernels, biased: bool) -> None:
    graph = quantized(product(biased=biased), bits, kernels)
    assert operators(graph) == ["MatMulNBits", *["Add"] * (biased and kernels is CUDA)]
    node = graph.graph[0]
    attributes = {name: node.attributes[name].as_int() for name in node.attributes}
    level = 4 if kernels is CPU else 0
    assert attributes == {"K": K, "N": N, "bits": bits, "block_size": 32, "accuracy_level": level}
    assert len(node.inputs) == (6 if biased and kernels is CPU else 3), "the kernel for CUDA adds no bias"
    assert node.outputs[0].dtype == FLOAT, "shape inference does not cover contributed operators"
    assert set(weights_of(graph)) == {f"w.int{bits}", f"w.int{bits}.scale", *["w.bias"] * biased}


@BIASED
def test_int4_blocks_of_the_cpu_are_exactly_their_formula(biased: bool) -> None:
    graph = filled(quantized(product(biased=biased), 4), TABLES)
    x = whole_by_block(2, 7, K)
    (y,) = run(graph, {"x": x})
    check_exact(y, x @ blocks(TABLES["w"], 4, two_level=True).T + bias_of(TABLES, "w.bias", biased))


@BIASED
@BITS
def test_blocks_of_cuda_are_exactly_their_formula(bits: Bits, biased: bool) -> None:
    graph = filled(quantized(product(biased=biased), bits, CUDA), TABLES)
    x = normal(2, 7, K, seed=1).numpy()
    (y,) = run(graph, {"x": x})
    check_exact(y, x @ blocks(TABLES["w"], bits).T + bias_of(TABLES, "w.bias", biased))


@BIASED
@NORMED
@pytest.mark.parametrize(("bits", "most"), [(8, 0.02), (4, 0.15)], ids=["int8", "int4"])
def test_a_product_is_near_the_torch_operator_s(bits: Bits, most: float, normed: bool, biased: bool) -> None:
    table, x = normal(N, K), normal(1, 7, K, seed=1).numpy()
    graph = quantized(product(normed=normed, biased=biased), bits)
    (y,) = run(filled(graph, TABLES | {"w": table}), {"x": x})
    exact = expected(x, table, normed=normed)
    error = np.abs(y - bias_of(TABLES, "w.bias", biased) - exact).mean()
    assert 0 < error / np.abs(exact).mean() < most


def test_a_token_of_large_magnitude_leaves_the_others_their_digits() -> None:
    graph = quantized(product(axes=("batch",)), 8)
    table, x = normal(N, K), normal(7, K, seed=1)
    x[0] *= 10000
    x[3] = 0
    (y,) = run(filled(graph, {"w": table}), {"x": x.numpy()})
    exact = (x @ table.t()).numpy()
    rows = [0, 1, 2, 4, 5, 6]
    assert (np.abs(y - exact)[rows].max(-1) / np.abs(exact)[rows].max(-1) < 0.02).all()
    assert not y[3].any()


@BIASED
@BITS
@pytest.mark.parametrize("axes", [(EXPERT_ROWS,), ("batch", ASKED)], ids=["expert-rows", "asked"])
def test_a_call_may_have_no_rows(axes: Axes, bits: Bits, biased: bool) -> None:
    graph = filled(quantized(product(axes=axes, biased=biased), bits), TABLES)
    # ONNX Runtime 1.31 reduces no rows to their old width.
    assert "ReduceMax" not in operators(graph)
    for count in (0, 1, 5):
        x = normal(*[1] * (len(axes) - 1), count, K).numpy()
        (y,) = run(graph, {"x": x})
        assert y.shape == (*x.shape[:-1], N)
        exact = expected(x, TABLES["w"], TABLES["w.bias"] if biased else None)
        assert np.abs(y - exact).sum() <= 0.15 * np.abs(exact).sum()


@BIASED
@KERNELS
@BITS
@pytest.mark.parametrize("head_first", [False, True], ids=["lookup-first", "head-first"])
def test_a_tied_table_is_stored_once(bits: Bits, kernels: Kernels, biased: bool, head_first: bool) -> None:
    graph = quantized(tied(N, K, axes=("rows",), biased=biased, head_first=head_first), bits, kernels)
    name = f"embedding.tokens.weight.int{bits}"
    assert sorted(weights_of(graph)) == [name, f"{name}.scale", *["head.bias"] * biased]
    head = ["MatMulNBits", *["Add"] * (biased and kernels is CUDA)]
    found = ["Unsqueeze", "GatherBlockQuantized", "Reshape"]
    assert operators(graph) == (head + found if head_first else found + head)
    filled(graph, EMBEDDING)
    ids, x = np.array([[0, 5, 23]]), normal(3, K, seed=2).numpy()
    rows, logits = run(graph, {"ids": ids, "x": x})
    stored = blocks(EMBEDDING["embedding.tokens.weight"], bits)
    np.testing.assert_allclose(rows, stored[ids], atol=1e-6)
    result = x @ stored.T
    assert np.abs(logits - bias_of(EMBEDDING, "head.bias", biased) - result).max() / np.abs(result).max() < 0.02


@KERNELS
@BITS
@pytest.mark.parametrize("ids", [(4,), (2, 3), (2, 0), (2, 3, 1)], ids=["row", "sequences", "none", "three-axes"])
def test_a_lookup_has_the_axes_of_its_ids(ids: tuple[int, ...], bits: Bits, kernels: Kernels) -> None:
    axes = [f"axis.{index}" for index in range(len(ids))]
    graph = quantized(table_alone(N, K, axes), bits, kernels)
    assert operators(graph) == ["Unsqueeze", "GatherBlockQuantized", "Reshape"]
    picked = np.random.default_rng(0).integers(0, N, ids)
    (rows,) = run(filled(graph, EMBEDDING), {"ids": picked})
    assert rows.shape == (*ids, K)
    np.testing.assert_allclose(rows, blocks(EMBEDDING["embedding.tokens.weight"], bits)[picked], atol=1e-6)


@BITS
@pytest.mark.parametrize("dtype", [FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16], ids=lambda dtype: dtype.name)
def test_scales_for_cuda_have_the_dtype_of_activations(dtype: ir.DataType, bits: Bits) -> None:
    graph = quantized(tied(N, K, dtype=dtype), bits, CUDA)
    assert "MatMul" not in operators(graph)
    stored = {tensor.dtype for tensor in weights_of(graph).values()}
    assert stored == {ir.DataType.UINT8, dtype}
    (gather,) = (node for node in graph.graph if node.op_type == "GatherBlockQuantized")
    assert gather.outputs[0].dtype == dtype


@BITS
def test_two_products_of_one_weight_share_its_stored_form(bits: Bits) -> None:
    table, inputs = weight("shared.weight", N, K), [value(name, FLOAT, "batch", "seq", K) for name in "ab"]
    nodes = [semantic("Linear", [x, table], f"{x.name}.y", ["batch", "seq", N]) for x in inputs]
    graph = quantized(model(inputs, nodes, [node.outputs[0] for node in nodes], [table]), bits)
    assert len(weights_of(graph)) == 2
