"""Engines with quantized weights: which GPUs support them, and that TensorRT for RTX builds them."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from archc.compiler.build import build
from archc.compiler.errors import BuildError
from archc.compiler.output.tensorrt.plan import rebuild
from archc.compiler.output.tensorrt.sections import EngineOptions
from archc.plan import Plan

SIZES = {
    "small-lm": "d_model=32 d_ff=48 num_layers=1 num_heads=2 vocab_size=60 context_length=64",
    "mixtral": "hidden_size=32 intermediate_size=48 num_hidden_layers=1 num_attention_heads=2 num_key_value_heads=1 "
    "head_dim=16 vocab_size=60 max_position_embeddings=64",
}


def test_float8_needs_newer_gpus(tmp_path: Path) -> None:
    with pytest.raises(
        BuildError, match=r"fp8: not supported by compute capability 8\.6, only from 8\.9; choose 8\.9 and 12\.0 alone"
    ):
        build("small-lm", random=1, out=tmp_path / "engine.plan", target="tensorrt-rtx", quantize="fp8")
    options = EngineOptions(compute_capabilities=("7.5",))
    with pytest.raises(BuildError, match=r"capability 7\.5, only from 8\.9; use --quantize int8"):
        build("small-lm", random=1, out=tmp_path / "engine.plan", target="tensorrt-rtx", quantize="fp8", engine=options)
    assert not list(tmp_path.iterdir())


def test_float8_is_not_built_again_for_older_gpus(tmp_path: Path) -> None:
    options = EngineOptions(compute_capabilities=("8.9",), keep_graph=True)
    sizes = SIZES["small-lm"].split()
    out = tmp_path / "engine.plan"
    build("small-lm", random=1, out=out, target="tensorrt-rtx", quantize="fp8", engine=options, overrides=sizes)
    again = rebuild(out, tmp_path / "again.plan", "tensorrt-rtx", EngineOptions(compute_capabilities=("12.0",)))
    with Plan(again) as plan:
        assert plan.manifest.quantization == "fp8"
    with pytest.raises(BuildError, match="fp8: not supported by compute capability"):
        rebuild(out, tmp_path / "old.plan", "tensorrt-rtx", EngineOptions())


@pytest.mark.parametrize(
    ("quantize", "dtype"), [("int8", "int8"), ("int4", "int4"), ("fp8", "float8e4m3fn")], ids=["int8", "int4", "fp8"]
)
@pytest.mark.parametrize("family", SIZES)
def test_an_engine_builds_with_every_matrix_quantized(family: str, quantize: str, dtype: str, tmp_path: Path) -> None:
    options = EngineOptions(compute_capabilities=("8.9",), keep_graph=True)
    out, sizes = tmp_path / "engine.plan", SIZES[family].split()
    build(family, random=1, out=out, target="tensorrt-rtx", quantize=quantize, engine=options, overrides=sizes)
    with Plan(out) as plan:
        assert (plan.manifest.quantization, plan.manifest.dtype) == (quantize, "float16")
        stored = [tensor.dtype for tensor in plan.manifest.tensors]
        assert stored.count(dtype) >= 7
        graph = onnx.load_model_from_string(plan.read("model.onnx"))
        assert [node.op_type for node in graph.graph.node].count("DequantizeLinear") == stored.count(dtype)
        matrices = [t.name for t in plan.manifest.tensors if len(t.shape) > 1 and t.dtype in ("float16", "float32")]
        assert [name for name in matrices if not name.endswith(".scale") and "router" not in name] == []
