"""GPTQ in both layouts, with and without act-order, against a packer written from the published layout."""

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
from archc.compiler.weights.packings.packing import PackedWeights
from tests.compiler.weights.packings.checkpoints import PackedCheckpoint, Tensors
from tests.reference.llama import llama


def pack_words(integers: Tensor, bits: int) -> Tensor:
    """Pack [..., M] into int32 [..., M · bits / 32], bit by bit in Python's integers."""
    rows = []
    for row in integers.reshape(-1, integers.shape[-1]).tolist():
        stream = sum(value << index * bits for index, value in enumerate(row))
        words = [stream >> shift & 0xFFFFFFFF for shift in range(0, len(row) * bits, 32)]
        rows.append([word - 2**32 if word >= 2**31 else word for word in words])
    return torch.tensor(rows, dtype=torch.int32).reshape(*integers.shape[:-1], -1)


def gptq_layer(
    layer: str, value: Tensor, bits: int, group: int, below: int, order: bool, symmetric: bool = False
) -> tuple[Tensors, Tensor]:
    """Quantize a matrix [N, K] by rounding and pack it: the stored tensors and the weight that they stand for."""
    rows, columns = value.shape
    count = columns // group
    of_input = torch.arange(columns) // group
    if order:
        of_input = of_input[torch.randperm(columns, generator=torch.Generator().manual_seed(rows))]
    scales, zeros = torch.empty(count, rows, dtype=torch.float16), torch.empty(count, rows, dtype=torch.int64)
    for index in range(count):
        part = value[:, of_input == index]
        scales[index] = ((part.amax(1) - part.amin(1)) / (2**bits - 1)).half()
        zeros[index] = (-part.amin(1) / scales[index].float()).round().clamp(1, 2**bits - 1).long()
        if symmetric:
            scales[index] = (part.abs().amax(1) / (2 ** (bits - 1) - 1)).half()
            zeros[index] = 2 ** (bits - 1)
    integers = ((value / scales.float()[of_input].t()).round() + zeros[of_input].t()).clamp(0, 2**bits - 1).long()
    widened = (integers - zeros[of_input].t()).float() * scales.float()[of_input].t()
    parts = {
        f"{layer}.qweight": pack_words(integers, bits).t(),
        f"{layer}.qzeros": pack_words(zeros - below, bits),
        f"{layer}.scales": scales,
        f"{layer}.g_idx": of_input.int(),
    }
    return parts, widened


def checkpoint(folder: Path, bits: int, group: int, stored_format: str, order: bool) -> PackedCheckpoint:
    below = {"gptq": 1, "gptq_v2": 0}[stored_format]

    def pack(name: str, value: Tensor) -> tuple[Tensors, Tensor] | None:
        if not name.endswith("_proj.weight"):
            return None
        return gptq_layer(name.removesuffix(".weight"), value, bits, group, below, order)

    reference = llama(1, hidden_size=64, intermediate_size=96, num_attention_heads=4)
    config = {"bits": bits, "group_size": group, "desc_act": order, "checkpoint_format": stored_format}
    return PackedCheckpoint(folder, reference, pack, {"quant_method": "gptq", **config})


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("stored_format", ["gptq", "gptq_v2"])
@pytest.mark.parametrize("order", [False, True], ids=["consecutive", "act-order"])
def test_the_weights_are_those_of_the_packer(tmp_path: Path, bits: int, stored_format: str, order: bool) -> None:
    checkpoint(tmp_path, bits, 32, stored_format, order).check_values()


def test_a_plan_is_verified_and_has_the_logits_of_transformers(tmp_path: Path) -> None:
    packed = checkpoint(tmp_path, 4, 16, "gptq", order=True)
    packed.check_build()
    packed.check_verify("GPTQ")


def test_a_zero_point_of_zero_wraps(tmp_path: Path) -> None:
    parts, _ = gptq_layer("a", torch.randn(32, 32), 4, 32, 0, order=False)
    parts["a.qzeros"] = torch.full((1, 4), -1, dtype=torch.int32)
    weights = written(tmp_path, parts, {"bits": 4, "group_size": -1})
    from_two, _ = gptq_layer("a", torch.randn(32, 32), 4, 32, 0, order=False)
    assert float(weights.read("a.weight").min()) >= 0
    assert set(from_two) == set(parts)


def written(folder: Path, tensors: Tensors, config: dict[str, Any]) -> PackedWeights:
    """Return a checkpoint with the older quantize_config.json, which has no quant_method."""
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    (folder / "quantize_config.json").write_text(json.dumps(config), "utf-8")
    weights = unpack(open_weights(folder), folder)
    assert isinstance(weights, PackedWeights)
    return weights


@pytest.mark.parametrize("group", [16, -1], ids=["groups", "one-group"])
def test_older_files_have_no_table_of_groups(tmp_path: Path, group: int) -> None:
    parts, widened = gptq_layer("a", torch.randn(32, 64), 4, 64 if group == -1 else group, 1, order=False)
    del parts["a.g_idx"]
    weights = written(
        tmp_path, {**parts, "a.bias": torch.ones(32)}, {"bits": 4, "group_size": group, "desc_act": False}
    )
    assert set(weights.names()) == {"a.weight", "a.bias"}
    assert torch.equal(weights.read("a.weight"), widened)


def test_layers_of_a_dynamic_checkpoint_have_bits_of_their_own(tmp_path: Path) -> None:
    first, of_first = gptq_layer("a", torch.randn(32, 64), 8, 16, 1, order=False)
    second, of_second = gptq_layer("b", torch.randn(32, 64), 4, 32, 1, order=True)
    weights = written(tmp_path, first | second, {"bits": 4, "group_size": 32, "dynamic": {"a": {"bits": 8}}})
    assert torch.equal(weights.read("a.weight"), of_first)
    assert torch.equal(weights.read("b.weight"), of_second)


@pytest.mark.parametrize(
    ("config", "change", "words"),
    [
        pytest.param({"bits": 4}, {}, "needs bits and group_size", id="no-group-size"),
        pytest.param({"bits": 5, "group_size": 16}, {}, "bits: expected 2, 3, 4, 8, got 5", id="five-bits"),
        pytest.param({"bits": 8, "group_size": 16}, {}, "'a.qweight'.*64 integers of 8 bits", id="other-bits"),
        pytest.param(
            {"bits": 4, "group_size": 32}, {"g_idx": None}, "'a.scales' has 4 groups, expected 2", id="other-group-size"
        ),
        pytest.param(
            {"bits": 4, "group_size": 16, "checkpoint_format": "marlin"}, {}, "'marlin' is not supported", id="marlin"
        ),
        pytest.param(
            {"bits": 4, "group_size": 16}, {"scales": None}, "'a.scales' of the packed .* not found", id="no-scales"
        ),
        pytest.param(
            {"bits": 4, "group_size": 16}, {"qzeros": torch.zeros(3, 4)}, r"'a.qzeros' has shape \[3, 4\]", id="zeros"
        ),
        pytest.param(
            {"bits": 4, "group_size": 16},
            {"g_idx": torch.arange(64).int()},
            "'a.g_idx' has groups out of range",
            id="order",
        ),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, config: Any, change: dict[str, Any], words: str) -> None:
    parts, _ = gptq_layer("a", torch.randn(32, 64), 4, 16, 1, order=False)
    parts |= {f"a.{end}": tensor for end, tensor in change.items()}
    with pytest.raises(BuildError, match=words):
        written(tmp_path, {name: tensor for name, tensor in parts.items() if tensor is not None}, config)
