"""The choice of a packing, by configs, former files and the tensors' names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.containers import open_weights
from archc.compiler.weights.packings.detect import unpack
from archc.compiler.weights.packings.packing import PackedWeights
from tests.compiler.weights.packings.checkpoints import Tensors
from tests.compiler.weights.packings.test_awq import awq_layer
from tests.compiler.weights.packings.test_gptq import gptq_layer

FP8 = {"a.weight": torch.ones(4, 4).to(torch.float8_e4m3fn), "a.weight_scale": torch.ones(4, 1)}


def opened(folder: Path, tensors: Tensors, config: dict[str, Any] | None = None, file: str = "config.json") -> Any:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    if config is not None:
        (folder / file).write_text(json.dumps(config), "utf-8")
    return unpack(open_weights(folder), folder)


def test_a_method_that_is_not_supported_is_named_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"'torchao' is not supported; supported are fp8, .*mxfp4, gptq, awq, compr"):
        opened(tmp_path, FP8, {"quantization_config": {"quant_method": "torchao"}})


def test_a_config_without_a_method_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="quant_method of the quantization config not found"):
        opened(tmp_path, FP8, {"quantization_config": {"bits": 4}})


def test_a_config_over_plain_tensors_changes_nothing(tmp_path: Path) -> None:
    weights = opened(tmp_path, {"a.weight": torch.ones(2, 2)}, {"quantization_config": {"quant_method": "gptq"}})
    assert not isinstance(weights, PackedWeights)


@pytest.mark.parametrize(
    "config",
    [
        pytest.param({"quantization_config": {"quant_method": "fp8"}}, id="of-the-model"),
        pytest.param({"text_config": {"quantization_config": {"quant_method": "fp8"}}}, id="of-a-part"),
        pytest.param({"compression_config": {"quant_method": "compressed-tensors"}}, id="former-key"),
        pytest.param({"hidden_size": 4}, id="tensors-alone"),
        pytest.param(None, id="no-config"),
    ],
)
def test_places_of_a_config(tmp_path: Path, config: dict[str, Any] | None) -> None:
    weights = opened(tmp_path, FP8, config)
    assert isinstance(weights, PackedWeights)
    assert weights.read("a.weight").tolist() == [[1.0] * 4] * 4


def test_layers_of_integers_need_their_config(tmp_path: Path) -> None:
    """Zero points of GPTQ have two layouts, which the tensors do not tell apart."""
    parts, _ = gptq_layer("a", torch.randn(32, 64), 4, 16, 1, order=False)
    with pytest.raises(BuildError, match=r"quantize_config\.json"):
        opened(tmp_path, parts)


def test_a_former_file_may_name_another_method(tmp_path: Path) -> None:
    parts, widened = awq_layer("a", torch.randn(24, 64), 16)
    config = {"quant_method": "awq", "bits": 4, "group_size": 16}
    weights = opened(tmp_path, parts, config, "quantize_config.json")
    assert torch.equal(weights.read("a.weight"), widened)


def test_activation_scales_are_left_out(tmp_path: Path) -> None:
    scales = {f"a.{name}": torch.ones(()) for name in ("input_scale", "k_scale", "v_scale", "output_scale")}
    assert list(opened(tmp_path, FP8 | scales).names()) == ["a.weight"]


def test_plain_weights_beside_packed_ones_keep_their_dtype(tmp_path: Path) -> None:
    weights = opened(tmp_path, FP8 | {"b.weight": torch.ones(3, 2, dtype=torch.bfloat16)})
    assert (weights.dtype("b.weight"), weights.shape("b.weight"), weights.bytes("b.weight")) == (
        "BF16",
        (3, 2),
        12,
    )
    assert weights.read("b.weight", (1,)).dtype == torch.bfloat16
    assert weights.bytes("a.weight") == 64


@pytest.mark.parametrize("place", [(4,), (slice(0, 5),), (slice(2, 1),), (0, 0, 0)], ids=str)
def test_a_place_out_of_bounds_is_an_error(tmp_path: Path, place: Any) -> None:
    with pytest.raises(ValueError, match="out of bounds"):
        opened(tmp_path, FP8).read("a.weight", place)


def test_fp8_without_scales_is_no_weight(tmp_path: Path) -> None:
    weights = opened(tmp_path, FP8 | {"b.weight": FP8["a.weight"].clone()})
    weights.check_numbers(["a.weight"])
    with pytest.raises(BuildError, match=r"'b\.weight' has dtype F8_E4M3"):
        weights.check_numbers(["a.weight", "b.weight"])
