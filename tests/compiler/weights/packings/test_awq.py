"""AWQ in the layout of its gemm kernels, against a packer written from that layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.containers import open_weights
from archc.compiler.weights.packings.detect import unpack
from tests.compiler.weights.packings.checkpoints import PackedCheckpoint, Tensors
from tests.reference.llama import llama

ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


def pack_words(integers: Tensor) -> Tensor:
    """Pack [M, N] into int32 [M, N / 8]: nibble i of a word is output ORDER[i] of eight."""
    words = torch.zeros(integers.shape[0], integers.shape[1] // 8, dtype=torch.int64)
    for place, output in enumerate(ORDER):
        words |= integers[:, output::8] << 4 * place
    return torch.where(words >= 2**31, words - 2**32, words).int()


def awq_layer(layer: str, value: Tensor, group: int) -> tuple[Tensors, Tensor]:
    """Quantize a matrix [N, K] by rounding and pack it: the stored tensors and the weight that they stand for."""
    blocks = value.unflatten(1, (-1, group))
    least, most = blocks.amin(-1).clamp(max=0), blocks.amax(-1).clamp(min=0)
    scales = ((most - least) / 15).half()
    zeros = (-least / scales.float()).round().clamp(0, 15).long()
    spread = scales.float().repeat_interleave(group, 1)
    integers = ((value / spread).round() + zeros.repeat_interleave(group, 1)).clamp(0, 15).long()
    widened = (integers - zeros.repeat_interleave(group, 1)).float() * spread
    parts = {
        f"{layer}.qweight": pack_words(integers.t()),
        f"{layer}.qzeros": pack_words(zeros.t()),
        f"{layer}.scales": scales.t(),
    }
    return parts, widened


def pack(name: str, value: Tensor) -> tuple[Tensors, Tensor] | None:
    return awq_layer(name.removesuffix(".weight"), value, 16) if name.endswith("_proj.weight") else None


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> PackedCheckpoint:
    config = {"quant_method": "awq", "version": "gemm", "bits": 4, "group_size": 16, "zero_point": True}
    reference = llama(2, hidden_size=64, intermediate_size=96, num_attention_heads=4)
    return PackedCheckpoint(tmp_path_factory.mktemp("awq"), reference, pack, config)


def test_the_weights_are_those_of_the_packer(packed: PackedCheckpoint) -> None:
    packed.check_values()


def test_a_plan_is_verified_and_has_the_logits_of_transformers(packed: PackedCheckpoint) -> None:
    packed.check_build()
    packed.check_verify("AWQ")


def write(folder: Path, tensors: Tensors, config: dict[str, Any]) -> None:
    """Write a checkpoint with the older quant_config.json, which has no quant_method."""
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    (folder / "quant_config.json").write_text(json.dumps(config), "utf-8")


@pytest.mark.parametrize("group", [16, -1], ids=["groups", "one-group"])
def test_older_files_have_keys_of_their_own(tmp_path: Path, group: int) -> None:
    parts, widened = awq_layer("a", torch.randn(24, 64), 64 if group == -1 else group)
    write(tmp_path, parts, {"w_bit": 4, "q_group_size": group, "version": "GEMM", "zero_point": True})
    weights = unpack(open_weights(tmp_path), tmp_path)
    assert list(weights.names()) == ["a.weight"]
    assert torch.equal(weights.read("a.weight"), widened)


@pytest.mark.parametrize(
    ("config", "change", "words"),
    [
        pytest.param({"bits": 4}, {}, "group_size: expected a divisor of 64.*got None", id="no-group-size"),
        pytest.param({"bits": 4, "group_size": 48}, {}, "group_size: expected a divisor of 64", id="48"),
        pytest.param({"bits": 8, "group_size": 16}, {}, "bits: expected 4, got 8", id="eight-bits"),
        pytest.param({"version": "gemv", "group_size": 16}, {}, "version: 'gemv' is not supported", id="gemv"),
        pytest.param({"zero_point": False, "group_size": 16}, {}, "zero_point: false is not supported", id="symmetric"),
        pytest.param({"group_size": 32}, {}, r"'a.scales' has shape \[4, 24\], expected \[2, 24\]", id="other-size"),
        pytest.param({"group_size": 16}, {"qzeros": None}, "'a.qzeros' of the packed .* not found", id="no-zeros"),
        pytest.param({"group_size": 16}, {"qweight": torch.zeros(64, 3)}, "'a.qweight'.*in int32", id="float"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, config: Any, change: dict[str, Any], words: str) -> None:
    parts, _ = awq_layer("a", torch.randn(24, 64), 16)
    parts |= {f"a.{end}": tensor for end, tensor in change.items()}
    write(tmp_path, {name: tensor for name, tensor in parts.items() if tensor is not None}, config)
    with pytest.raises(BuildError, match=words):
        unpack(open_weights(tmp_path), tmp_path)
