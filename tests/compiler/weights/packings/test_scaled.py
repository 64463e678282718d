"""FP8 with scales by blocks, rows and whole tensors, against transformers' own conversion."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers.integrations.finegrained_fp8 import Fp8Dequantize, Fp8Quantize

from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.containers import open_weights
from archc.compiler.weights.packings.packing import PackedWeights
from archc.compiler.weights.packings.scaled import find_fp8
from tests.compiler.weights.packings.checkpoints import PackedCheckpoint
from tests.reference.deepseek_v3 import GROUPS, deepseek_v3

BLOCK = [4, 2]


def quantizer(**config: Any) -> Any:
    return SimpleNamespace(quantization_config=SimpleNamespace(scale_fmt=None, weight_block_size=None, **config))


def pack_blocks(name: str, value: Tensor) -> tuple[dict[str, Tensor], Tensor] | None:
    """Transformers' writer and reader, where its blocks divide the matrix; embeddings, norms and router stay."""
    if not name.endswith("_proj.weight") and "kv_a_proj" not in name:
        return None
    holder = quantizer()
    holder.quantization_config.weight_block_size = BLOCK
    parts = Fp8Quantize(holder).convert({name: value})
    if len(parts) == 1:
        return None
    widened = Fp8Dequantize(holder)._dequantize_one(parts[name], parts[f"{name}_scale_inv"], torch.float32)
    return parts, widened


CONFIG = {"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3", "weight_block_size": BLOCK}


@pytest.fixture(scope="module")
def deepseek(tmp_path_factory: pytest.TempPathFactory) -> PackedCheckpoint:
    reference = deepseek_v3(1, **GROUPS)
    return PackedCheckpoint(tmp_path_factory.mktemp("fp8"), reference, pack_blocks, CONFIG)


def test_the_weights_are_those_of_transformers(deepseek: PackedCheckpoint) -> None:
    assert len(deepseek.packed) > 20
    deepseek.check_values()


def test_a_plan_has_the_logits_of_transformers(deepseek: PackedCheckpoint) -> None:
    deepseek.check_build()


def test_a_plan_is_verified(deepseek: PackedCheckpoint) -> None:
    deepseek.check_verify("FP8")


def stored(folder: Path, config: dict[str, Any], **tensors: Tensor) -> PackedWeights:
    save_file(tensors, folder / "model.safetensors")
    weights = open_weights(folder)
    return PackedWeights(weights, find_fp8(weights, config), "FP8")


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def test_blocks_are_cut_off_at_the_edges(tmp_path: Path) -> None:
    """Like DeepSeek's kv_a_proj_with_mqa, whose 576 rows are 4.5 blocks of 128."""
    element, scale = random(10, 7).to(torch.float8_e4m3fn), random(3, 3)
    weights = stored(tmp_path, {"weight_block_size": [4, 3]}, **{"a.weight": element, "a.weight_scale_inv": scale})
    expected = torch.tensor([[element[n, k].float() * scale[n // 4, k // 3] for k in range(7)] for n in range(10)])
    assert torch.equal(weights.read("a.weight"), expected)
    for start in range(10):
        assert torch.equal(weights.read("a.weight", (slice(start, 10),)), expected[start:])


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        pytest.param("a.weight_scale", (6, 1), id="row-columns"),
        pytest.param("a.weight_scale", (6,), id="row-vector"),
        pytest.param("a.weight_scale_inv", (), id="scalar"),
        pytest.param("a.weight_scale", (1,), id="one"),
        pytest.param("a.weight_scale", (1, 1), id="one-by-one"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_scales_of_rows_and_tensors(tmp_path: Path, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    element, scale = random(6, 5).to(torch.float8_e4m3fn), random(*shape).to(dtype)
    weights = stored(tmp_path, {}, **{"a.weight": element, name: scale, "a.input_scale": torch.ones(())})
    expected = element.float() * (scale.float()[:, None] if shape == (6,) else scale.float())
    assert list(weights.names()) == ["a.weight"]
    assert torch.equal(weights.read("a.weight"), expected)
    assert torch.equal(weights.read("a.weight", (slice(2, 5),)), expected[2:5])


def test_a_stack_is_read_matrix_by_matrix(tmp_path: Path) -> None:
    element, scale = random(3, 6, 4).to(torch.float8_e4m3fn), random(3, 2, 2)
    weights = stored(tmp_path, {"weight_block_size": [3, 2]}, **{"experts.up": element, "experts.up_scale_inv": scale})
    expected = Fp8Dequantize(quantizer())._dequantize_one(element, scale, torch.float32)
    assert torch.equal(weights.read("experts.up"), expected)
    assert torch.equal(weights.read("experts.up", (2,)), expected[2])
    assert torch.equal(weights.read("experts.up", (slice(1, 3),)), expected[1:3])


def test_powers_of_two_as_scales(tmp_path: Path) -> None:
    element, scale = random(4, 4).to(torch.float8_e4m3fn), torch.tensor([[0.5, 4], [2, 8]])
    packed = scale.to(torch.float8_e8m0fnu)
    weights = stored(tmp_path, {"weight_block_size": [2, 2]}, **{"a.weight": element, "a.weight_scale_inv": packed})
    assert torch.equal(
        weights.read("a.weight"), element.float() * scale.repeat_interleave(2, 0).repeat_interleave(2, 1)
    )


@pytest.mark.parametrize(
    ("config", "shape", "words"),
    [
        pytest.param({"weight_block_size": [4, 3]}, (2, 3), r"\[2, 3\].*\[3, 3\] for blocks of 4×3", id="grid"),
        pytest.param({}, (3, 3), "weight_block_size not found", id="no-block-size"),
        pytest.param({"weight_block_size": 128}, (3, 3), r"weight_block_size: expected \[rows, columns\]", id="number"),
        pytest.param({"weight_block_size": [0, 3]}, (3, 3), r"weight_block_size: expected", id="zero"),
    ],
)
def test_scales_that_do_not_fit_are_refused(tmp_path: Path, config: Any, shape: tuple[int, ...], words: str) -> None:
    tensors = {"a.weight": random(10, 7).to(torch.float8_e4m3fn), "a.weight_scale_inv": random(*shape)}
    with pytest.raises(BuildError, match=words):
        stored(tmp_path, config, **tensors)


def test_integers_are_no_scales(tmp_path: Path) -> None:
    tensors = {"a.weight": random(2, 2).to(torch.float8_e4m3fn), "a.weight_scale": torch.ones(2, dtype=torch.int32)}
    with pytest.raises(BuildError, match=r"'a\.weight_scale' has dtype I32, expected scales in float"):
        stored(tmp_path, {}, **tensors)
