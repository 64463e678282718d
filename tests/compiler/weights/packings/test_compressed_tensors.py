"""The formats of compressed-tensors, against its own compressors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.utils import calculate_qparams
from safetensors.torch import save_file
from torch import Tensor

from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.containers import open_weights
from archc.compiler.weights.packings.detect import unpack
from tests.compiler.weights.packings.checkpoints import PackedCheckpoint, Tensors
from tests.reference.llama import llama

INT8_ROWS = {"num_bits": 8, "type": "int", "strategy": "channel"}
FP8_ROWS = {"num_bits": 8, "type": "float", "strategy": "channel"}
CASES = {
    "int4-groups": ("pack-quantized", {"num_bits": 4, "strategy": "group", "group_size": 16}),
    "int4-groups-asymmetric": (
        "pack-quantized",
        {"num_bits": 4, "strategy": "group", "group_size": 16, "symmetric": False},
    ),
    "int4-rows": ("pack-quantized", {"num_bits": 4, "strategy": "channel"}),
    "int8-packed-asymmetric": ("pack-quantized", {"num_bits": 8, "strategy": "channel", "symmetric": False}),
    "int8-rows": ("int-quantized", INT8_ROWS),
    "int8-rows-asymmetric": ("int-quantized", INT8_ROWS | {"symmetric": False}),
    "int8-groups": ("naive-quantized", {"num_bits": 8, "strategy": "group", "group_size": 16}),
    "int8-tensor": ("int-quantized", {"num_bits": 8, "strategy": "tensor"}),
    "fp8-rows": ("float-quantized", FP8_ROWS),
    "fp8-tensor": ("float-quantized", FP8_ROWS | {"strategy": "tensor"}),
    "fp8-blocks": ("naive-quantized", FP8_ROWS | {"strategy": "block", "block_structure": [16, 8]}),
}


def parameters(value: Tensor, args: QuantizationArgs) -> tuple[Tensor, Tensor]:
    """Return scales in bfloat16 and zero points by the package's own rule, in the shape of a strategy."""
    match args.strategy:
        case "group":
            parts = value.unflatten(1, (-1, args.group_size))
            least, most = parts.amin(-1), parts.amax(-1)
        case "channel":
            least, most = value.amin(1, keepdim=True), value.amax(1, keepdim=True)
        case "tensor":
            least, most = value.amin().reshape(1), value.amax().reshape(1)
        case _:
            height, width = args.block_structure
            parts = value.unflatten(0, (-1, height)).unflatten(2, (-1, width))
            least, most = parts.amin((1, 3)), parts.amax((1, 3))
    scales, zeros = calculate_qparams(least, most, args)
    return scales.bfloat16(), zeros


def compress(name: str, value: Tensor, stored_format: str, args: dict[str, Any]) -> tuple[Tensors, Tensor]:
    """Return the stored tensors of the package's compressor, and what it makes of them with scales in float32."""
    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**args))
    scales, zeros = parameters(value, scheme.weights)
    compressor = BaseCompressor.get_value_from_registry(stored_format)
    state = {"weight": value, "weight_scale": scales.float()}
    if not scheme.weights.symmetric:
        state["weight_zero_point"] = zeros.to(torch.int8)
    stored = compressor.compress(state, scheme)
    widened = compressor.decompress(stored, scheme)["weight"]
    parts = {name.removesuffix("weight") + key: tensor for key, tensor in (stored | {"weight_scale": scales}).items()}
    return parts, widened


def checkpoint(folder: Path, case: str) -> PackedCheckpoint:
    stored_format, args = CASES[case]

    def pack(name: str, value: Tensor) -> tuple[Tensors, Tensor] | None:
        return compress(name, value, stored_format, args) if name.endswith("_proj.weight") else None

    config = {
        "quant_method": "compressed-tensors",
        "format": stored_format,
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": args}},
        "ignore": ["lm_head"],
    }
    reference = llama(3, hidden_size=64, intermediate_size=96, num_attention_heads=4)
    return PackedCheckpoint(folder, reference, pack, config)


@pytest.mark.parametrize("case", CASES)
def test_the_weights_are_those_of_the_package(tmp_path: Path, case: str) -> None:
    checkpoint(tmp_path, case).check_values()


@pytest.mark.parametrize("case", ["int4-groups-asymmetric", "int8-rows", "fp8-blocks"])
def test_a_plan_is_verified_and_has_the_logits_of_transformers(tmp_path: Path, case: str) -> None:
    packed = checkpoint(tmp_path, case)
    packed.check_build()
    packed.check_verify("compressed-tensors")


@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "asymmetric"])
def test_a_table_of_groups_orders_the_inputs(tmp_path: Path, symmetric: bool) -> None:
    args = {"num_bits": 4, "strategy": "group", "group_size": 16, "symmetric": symmetric}
    value, order = torch.randn(40, 64), torch.randperm(64)
    parts, widened = compress("a.weight", value[:, order], "pack-quantized", args)
    of_input = torch.empty(64, dtype=torch.int32)
    of_input[order] = torch.arange(64, dtype=torch.int32) // 16
    # The package packs the inputs in their own order, so integers of the ordered weight go back to it.
    inverse = order.argsort()
    again, _ = compress("a.weight", widened[:, inverse], "pack-quantized", args)
    unordered = checkpoint_of(tmp_path / "first", parts, args)
    integers = unordered.read("a.weight")
    assert torch.equal(integers, widened)
    signed = torch.arange(64) % 16 - 8
    plain = {"a.weight_packed": pack_signed(signed.expand(40, 64)), "a.weight_shape": again["a.weight_shape"]}
    scales = torch.rand(40, 4)
    ordered = checkpoint_of(tmp_path / "second", plain | {"a.weight_scale": scales, "a.weight_g_idx": of_input}, args)
    assert torch.equal(ordered.read("a.weight"), signed.float() * scales[:, of_input.long()])


def pack_signed(values: Tensor) -> Tensor:
    from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32

    packed: Tensor = pack_to_int32(values.to(torch.int8).contiguous(), 4)
    return packed


def checkpoint_of(folder: Path, tensors: Tensors, args: dict[str, Any], **more: Any) -> Any:
    folder.mkdir(exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    config = {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": args}}} | more
    (folder / "config.json").write_text(json.dumps({"quantization_config": config}), "utf-8")
    return unpack(open_weights(folder), folder)


INT4 = {"num_bits": 4, "strategy": "group", "group_size": 16}


@pytest.mark.parametrize(
    ("args", "more", "change", "words"),
    [
        pytest.param(
            INT4, {"format": "nvfp4-pack-quantized"}, {}, "'nvfp4-pack-quantized' is not supported", id="nvfp4"
        ),
        pytest.param(
            INT4, {"sparsity_config": {"format": "sparse-24-bitmask"}}, {}, "sparse-24.*not supp", id="sparse"
        ),
        pytest.param(INT4, {"transform_config": {"config_groups": {"u": {}}}}, {}, "rotated weights", id="transforms"),
        pytest.param(INT4 | {"num_bits": 3}, {}, {}, "num_bits: expected 2, 4, 8, got 3", id="three-bits"),
        pytest.param(INT4 | {"num_bits": 8}, {}, {}, r"'a.weight_packed' \[40, 8\] does not hold", id="other-bits"),
        pytest.param(INT4 | {"group_size": 32}, {}, {}, r"\[40, 4\], expected \[40, 2\], \[40, 1\]", id="other-groups"),
        pytest.param(INT4, {}, {"scale": None}, "'a.weight_scale' of the packed .* not found", id="no-scales"),
        pytest.param(INT4, {}, {"shape": None}, "'a.weight_shape' of the packed .* not found", id="no-shape"),
        pytest.param(
            INT4, {}, {"zero_point": torch.zeros(40, 4, dtype=torch.int32)}, r"\[40, 4\], expected \[5, 4\]", id="zeros"
        ),
        pytest.param(
            INT4, {}, {"g_idx": torch.full((64,), 4, dtype=torch.int32)}, "'a.weight_g_idx' has groups out", id="order"
        ),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, args: Any, more: Any, change: Any, words: str) -> None:
    parts, _ = compress("a.weight", torch.randn(40, 64), "pack-quantized", INT4)
    parts |= {f"a.weight_{end}": tensor for end, tensor in change.items()}
    with pytest.raises(BuildError, match=words):
        checkpoint_of(tmp_path, {name: value for name, value in parts.items() if value is not None}, args, **more)
