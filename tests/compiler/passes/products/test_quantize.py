"""Weights in fewer bits: the numbers that are written, and what the graph computes with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch

from archc.compiler.build import build
from archc.compiler.errors import BuildError
from archc.compiler.passes.products.fold_weights import fold_weights
from archc.compiler.passes.products.quantize import quantize
from archc.compiler.weights.lazy import WeightTensor
from archc.compiler.weights.quantization import Blocks, BlockScales, BlockValues, pack, quantize_blocks
from archc.plan import Plan
from tests.compiler.graphs import constant, model, operators, run, value, weight
from tests.families.cuda_kernels import check_kernels

FLOAT, INT64 = ir.DataType.FLOAT, ir.DataType.INT64
N, K = 24, 96


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def projection(name: str = "q", normed: bool = False) -> ir.Model:
    """x · Wᵀ as the compiler's graphs have it, perhaps after a norm."""
    x = value("x", FLOAT, "batch", K)
    nodes, source = [], x
    if normed:
        ones = constant("ones", np.ones(K, np.float32))
        nodes.append(ir.Node("", "RMSNormalization", [x, ones], name="norm"))
        source = nodes[0].outputs[0]
    table = weight(f"{name}.weight", N, K)
    turned = ir.Node("", "Transpose", [table], [ir.AttrInt64s("perm", [1, 0])], name="turn")
    product = ir.Node("", "MatMul", [source, turned.outputs[0]], name="product")
    product.outputs[0].type, product.outputs[0].shape = ir.TensorType(FLOAT), ir.Shape(["batch", N])
    graph = model([x], [*nodes, turned, product], product.outputs, [table, *([ones] if normed else [])])
    fold_weights(graph)
    return graph


def fill(graph: ir.Model, slots: dict[str, torch.Tensor]) -> None:
    """Gives every weight its bytes, as a build does."""
    for item in graph.graph.initializers.values():
        if isinstance(item.const_value, WeightTensor):
            dtype = {FLOAT: torch.float32, ir.DataType.UINT8: torch.uint8, ir.DataType.INT8: torch.int8}[item.dtype]
            data = torch.cat(list(item.const_value.blocks(slots[item.const_value.slot], dtype)))
            assert list(data.shape) == list(item.shape)
            item.const_value = ir.tensor(data.numpy(), name=item.name)


@pytest.mark.parametrize("bits", [4, 8])
def test_integers_and_scales_of_a_block_by_hand(bits):
    half = 2 ** (bits - 1)
    row = torch.zeros(1, 32)
    row[0, :4] = torch.tensor([-2.0, 1.0, 0.5, 2.0 / half])
    row[0, 16:18] = torch.tensor([3.0, -1.5])
    integers, scales = quantize_blocks(row, bits, 16)
    assert scales.tolist() == [[2.0 / half, -3.0 / half]]  # the largest becomes −half, whatever its sign
    assert integers[0, 0, :5].tolist() == [0, half + half // 2, half + half // 4, half + 1, half]
    assert integers[0, 1, :3].tolist() == [0, half + half // 2, half]


def test_two_integers_share_a_byte_the_first_one_low():
    assert pack(torch.tensor([[1, 2, 15, 0]], dtype=torch.uint8), 4).tolist() == [[0x21, 0x0F]]


def test_integers_are_made_with_the_scales_as_they_are_stored():
    row = torch.full((1, 16), 0.1)
    row[0, 0] = -1.0 / 3
    integers, scales = quantize_blocks(row, 8, 16, torch.bfloat16)
    assert scales.dtype == torch.bfloat16
    got = (integers.float() - 128) * scales.float().unsqueeze(-1)
    assert got[0, 0, 1].item() == pytest.approx(0.1, abs=float(scales) * 0.501)


@pytest.mark.parametrize("bits", [4, 8])
def test_no_number_is_further_off_than_half_a_step(bits):
    rows = numbers(5, 256)
    integers, scales = quantize_blocks(rows, bits, 128)
    got = (integers.float() - 2 ** (bits - 1)) * scales.unsqueeze(-1)
    # The largest positive integer is one step short of the largest number's opposite.
    assert ((got.flatten(1) - rows).abs() <= scales.abs().repeat_interleave(128, -1) * 1.0001).all()
    assert ((got.flatten(1) - rows).abs() <= scales.abs().repeat_interleave(128, -1) / 2 * 1.0001).float().mean() > 0.97


def test_a_row_of_zeros_stays_zero():
    integers, scales = quantize_blocks(torch.zeros(1, 16), 4, 16)
    assert scales.tolist() == [[0.0]]
    assert (integers == 8).all()


def test_scales_are_right_whether_the_integers_were_written_before_or_not():
    blocks = Blocks(WeightTensor("w", (N, K), FLOAT), 4, 32)
    table = numbers(N, K)
    alone = torch.cat(list(BlockScales(blocks).blocks(table, torch.float32)))
    list(BlockValues(blocks).blocks(table, torch.uint8))
    after = torch.cat(list(BlockScales(blocks).blocks(table, torch.float32)))
    assert torch.equal(alone, after)
    assert torch.equal(after, quantize_blocks(table, 4, 32)[1])


@pytest.mark.parametrize(("bits", "operator", "off"), [(8, "DynamicQuantizeMatMul", 0.02), (4, "MatMulNBits", 0.15)])
def test_a_product_is_near_what_it_was(bits, operator, off):
    graph = projection(normed=True)
    assert quantize(bits)(graph) == 1
    assert operators(graph) == ["RMSNormalization", operator]
    table, x = numbers(N, K), numbers(7, K, seed=1)
    fill(graph, {"q.weight": table})
    got = run(graph, {"x": x.numpy()})[0]
    wanted = (x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() @ table.t()).numpy()
    assert 0 < np.abs(got - wanted).mean() / np.abs(wanted).mean() < off


def test_a_token_of_great_magnitude_leaves_the_others_their_digits():
    graph = projection()
    quantize(8)(graph)
    table, x = numbers(N, K), numbers(7, K, seed=1)
    x[0] *= 10000
    x[3] = 0
    fill(graph, {"q.weight": table})
    got, wanted = run(graph, {"x": x.numpy()})[0], (x @ table.t()).numpy()
    rows = [0, 1, 2, 4, 5, 6]
    assert (np.abs(got - wanted)[rows].max(-1) / np.abs(wanted)[rows].max(-1) < 0.02).all()
    assert not got[3].any()


@pytest.mark.parametrize("bits", [4, 8])
def test_a_tied_table_is_stored_once(bits):
    ids, x = value("ids", INT64, "batch", "seq"), value("x", FLOAT, "rows", K)
    table = weight("embedding.tokens.weight", N, K)
    found = ir.Node("", "Gather", [table, ids], name="lookup")
    found.outputs[0].type, found.outputs[0].shape = ir.TensorType(FLOAT), ir.Shape(["batch", "seq", K])
    logits = ir.Node("", "Gemm", [x, table], [ir.AttrInt64("transB", 1)], name="head")
    logits.outputs[0].type, logits.outputs[0].shape = ir.TensorType(FLOAT), ir.Shape(["rows", N])
    graph = model([ids, x], [found, logits], [found.outputs[0], logits.outputs[0]], [table])
    assert quantize(bits)(graph) == 1
    stored = [item.name for item in graph.graph.initializers.values() if isinstance(item.const_value, WeightTensor)]
    assert stored == [f"embedding.tokens.weight.int{bits}", f"embedding.tokens.weight.int{bits}.scale"]
    rows, picked = numbers(N, K), np.array([[0, 5, 23]])
    fill(graph, {"embedding.tokens.weight": rows})
    integers, scales = quantize_blocks(rows, bits, 32)
    kept = ((integers.float() - 2 ** (bits - 1)) * scales.unsqueeze(-1)).flatten(1)
    given = numbers(3, K, seed=2)
    got_rows, got_logits = run(graph, {"ids": picked, "x": given.numpy()})
    np.testing.assert_allclose(got_rows, kept[picked].numpy(), atol=1e-6)
    wanted = (given @ kept.t()).numpy()
    assert np.abs(got_logits - wanted).max() / np.abs(wanted).max() < 0.02


def test_routers_and_odd_widths_stay_as_they_are():
    graph = projection("layers.0.mlp.router")
    assert quantize(8)(graph) == 0
    assert operators(graph) == ["MatMul"]
    table = weight("odd.weight", N, 20)
    x = value("x", FLOAT, "batch", 20)
    turned = ir.Node("", "Transpose", [table], [ir.AttrInt64s("perm", [1, 0])], name="turn")
    product = ir.Node("", "MatMul", [x, turned.outputs[0]], name="product")
    odd = model([x], [turned, product], product.outputs, [table])
    fold_weights(odd)
    assert quantize(4)(odd) == 0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("bits", ["int4", "int8"])
def test_cuda_has_kernels_for_all_of_it(bits: str, dtype: str, tmp_path: Path) -> None:
    sizes = (
        "hidden_size=64 intermediate_size=96 num_hidden_layers=1 num_attention_heads=4 num_key_value_heads=2 "
        "vocab_size=60 max_position_embeddings=64 tie_word_embeddings=true"
    )
    out = build(
        "qwen2", random=1, out=tmp_path / "engine.plan", target="ort-cuda", quantize=bits, dtype=dtype,
        overrides=sizes.split(),
    )  # fmt: skip
    with Plan(out) as plan:
        assert (plan.manifest.quantization, plan.manifest.dtype) == (bits, dtype)
        check_kernels(plan.read("model.onnx"))
        graph = onnx.load_model_from_string(plan.read("model.onnx")).graph
        kept = [t for t in plan.manifest.tensors if len(t.shape) > 1 and t.dtype == dtype]
        assert [t.name for t in kept if not t.name.endswith(".scale")] == []
        tables = [t.name for t in plan.manifest.tensors if t.name.startswith("embedding.tokens")]
        assert len(tables) == 2, "the table and the head that shares it are stored once"
    names = [node.op_type for node in graph.node]
    assert (names.count("MatMulNBits"), names.count("GatherBlockQuantized"), names.count("MatMul")) == (8, 1, 0)
    given = {node.op_type: len(node.input) for node in graph.node if node.domain == "com.microsoft"}
    assert given["MatMulNBits"] == 3, "its kernel for CUDA adds no bias"


def test_fewer_bits_beside_float16_are_not_for_the_cpu(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="requires float32 activations; remove --dtype float16"):
        build("qwen2", random=1, out=tmp_path / "engine.plan", quantize="int4", dtype="float16")
