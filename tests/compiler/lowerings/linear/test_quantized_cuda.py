"""Quantized builds for CUDA: every node has a kernel, and no matrix stays in float."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from archc.compiler.build import build
from archc.plan import Plan
from tests.families.cuda_kernels import check_kernels

SIZES = (
    "hidden_size=64 intermediate_size=96 num_hidden_layers=1 num_attention_heads=4 num_key_value_heads=2 "
    "vocab_size=60 max_position_embeddings=64 tie_word_embeddings=true"
)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("quantize", ["int4", "int8"])
def test_cuda_has_kernels_for_a_quantized_graph(quantize: str, dtype: str, tmp_path: Path) -> None:
    out = tmp_path / "engine.plan"
    build("qwen2", random=1, out=out, target="ort-cuda", quantize=quantize, dtype=dtype, overrides=SIZES.split())
    with Plan(out) as plan:
        assert (plan.manifest.quantization, plan.manifest.dtype) == (quantize, dtype)
        check_kernels(plan.read("model.onnx"))
        graph = onnx.load_model_from_string(plan.read("model.onnx")).graph
        matrices = [tensor.name for tensor in plan.manifest.tensors if len(tensor.shape) > 1 and tensor.dtype == dtype]
        assert [name for name in matrices if not name.endswith(".scale")] == []
        tables = [tensor.name for tensor in plan.manifest.tensors if tensor.name.startswith("embedding.tokens")]
        assert len(tables) == 2, "the table and the head that shares it are stored once"
    names = [node.op_type for node in graph.node]
    assert (names.count("MatMulNBits"), names.count("GatherBlockQuantized"), names.count("MatMul")) == (8, 1, 0)
    products = [node for node in graph.node if node.op_type == "MatMulNBits"]
    assert {len(node.input) for node in products} == {3}, "the kernel for CUDA adds no bias"
