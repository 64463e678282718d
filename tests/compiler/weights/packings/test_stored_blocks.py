"""Plans in int4 of checkpoints in 4-bit groups: their integers, scales and zero points go over bit for bit."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from archc.compiler.build import build
from archc.plan import Plan
from archc.plan.dtypes import DTYPES
from archc.runtime.engine import load
from archc.verify.compare import verify
from tests.compiler.weights.packings.checkpoints import PackedCheckpoint, Tensors, on_packing
from tests.compiler.weights.packings.test_awq import awq_layer
from tests.compiler.weights.packings.test_compressed_tensors import compress
from tests.compiler.weights.packings.test_gptq import gptq_layer
from tests.reference.llama import llama

GROUP = 32


def gptq(symmetric: bool, order: bool = False) -> Any:
    def pack(name: str, value: Tensor) -> tuple[Tensors, Tensor] | None:
        if not name.endswith("_proj.weight"):
            return None
        return gptq_layer(name.removesuffix(".weight"), value, 4, GROUP, 1, order, symmetric)

    return pack, {"quant_method": "gptq", "bits": 4, "group_size": GROUP, "desc_act": order}


def awq() -> Any:
    def pack(name: str, value: Tensor) -> tuple[Tensors, Tensor] | None:
        return awq_layer(name.removesuffix(".weight"), value, GROUP) if name.endswith("_proj.weight") else None

    return pack, {"quant_method": "awq", "version": "gemm", "bits": 4, "group_size": GROUP}


def compressed(**changes: Any) -> Any:
    args = {"num_bits": 4, "strategy": "group", "group_size": GROUP, **changes}

    def pack(name: str, value: Tensor) -> tuple[Tensors, Tensor] | None:
        return compress(name, value, "pack-quantized", args) if name.endswith("_proj.weight") else None

    config = {"quant_method": "compressed-tensors", "format": "pack-quantized"}
    return pack, config | {"config_groups": {"group_0": {"targets": ["Linear"], "weights": args}}}


CASES = {
    "gptq-symmetric": gptq(symmetric=True),
    "gptq-asymmetric": gptq(symmetric=False),
    "awq": awq(),
    "compressed-symmetric": compressed(),
    "compressed-asymmetric": compressed(symmetric=False),
    "compressed-rows": compressed(strategy="channel", group_size=None),
}


def checkpoint(folder: Path, pack: Any, config: dict[str, Any]) -> PackedCheckpoint:
    reference = llama(5, hidden_size=64, intermediate_size=96, num_attention_heads=4)
    return PackedCheckpoint(folder, reference, pack, config)


def stored(plan: Path) -> dict[str, NDArray[Any]]:
    """Return the tensors of a plan by name, as their bits."""
    opened = Plan(plan)
    data = opened.read("weights.bin")
    return {
        tensor.name: np.frombuffer(
            data[tensor.offset : tensor.offset + tensor.bytes], DTYPES[tensor.dtype].storage
        ).reshape(tensor.shape)
        for tensor in opened.manifest.tensors
    }


def dequantize(tensors: dict[str, NDArray[Any]], name: str) -> NDArray[np.float32]:
    """(integer − zero point) · scale of a stored matrix, by numpy alone."""
    packed, scales = tensors[name], tensors[f"{name}.scale"]
    integers = np.stack([packed & 15, packed >> 4], -1).reshape(*scales.shape, -1).astype(np.float32)
    zeros: Any = np.float32(8)
    if f"{name}.zero" in tensors:
        halves = tensors[f"{name}.zero"]
        zeros = np.stack([halves & 15, halves >> 4], -1).reshape(len(halves), -1)[:, : scales.shape[1], None]
    values: NDArray[np.float32] = ((integers - zeros) * scales[..., None]).reshape(len(packed), -1)
    return values


@pytest.mark.parametrize("case", CASES)
def test_the_weights_of_a_plan_are_those_of_the_file(tmp_path: Path, case: str) -> None:
    packed = checkpoint(tmp_path, *CASES[case])
    warnings: list[str] = []
    plan = build(packed.folder, out=tmp_path / "p.plan", target="ort-cpu", quantize="int4", warn=warnings.append)
    assert on_packing(warnings) == []
    tensors = stored(plan)
    compared = 0
    for layer in range(3):
        for slot, names in {
            "attention.q+k+v": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
            "attention.o": ("self_attn.o_proj",),
            "mlp.gate": ("mlp.gate_proj",),
            "mlp.up": ("mlp.up_proj",),
            "mlp.down": ("mlp.down_proj",),
        }.items():
            expected = torch.cat([packed.packed[f"model.layers.{layer}.{name}.weight"] for name in names]).numpy()
            name = f"layers.{layer}.{slot}.weight.int4"
            assert (f"{name}.zero" in tensors) == ("asymmetric" in case or case == "awq")
            assert np.array_equal(dequantize(tensors, name), expected), name
            compared += len(names)
    assert compared == len(packed.packed)


@pytest.mark.parametrize("case", CASES)
def test_such_a_plan_is_verified(tmp_path: Path, case: str) -> None:
    packed = checkpoint(tmp_path, *CASES[case])
    plan = build(packed.folder, out=tmp_path / "p.plan", target="ort-cpu", quantize="int4")
    with closing(load(plan, threads=1)) as engine:
        report = verify(engine, packed.folder, new_tokens=2)
    assert report.ok, report
    assert report.weights is not None
    assert report.weights.matrices == 17  # 21 projections, three of each layer in one, the token table and the head


def test_groups_in_another_order_are_widened(tmp_path: Path) -> None:
    packed = checkpoint(tmp_path, *gptq(symmetric=True, order=True))
    warnings: list[str] = []
    build(packed.folder, out=tmp_path / "p.plan", target="ort-cpu", quantize="int4", warn=warnings.append)
    (warning,) = on_packing(warnings)
    assert f"{len(packed.packed)} weights are stored quantized (GPTQ) and are widened" in warning


def test_a_part_of_the_weights_goes_over(tmp_path: Path) -> None:
    pack, config = gptq(symmetric=True)

    def some_in_order(name: str, value: Tensor) -> Any:
        return gptq(symmetric=True, order=True)[0](name, value) if "down_proj" in name else pack(name, value)

    packed = checkpoint(tmp_path, some_in_order, config)
    warnings: list[str] = []
    build(packed.folder, out=tmp_path / "p.plan", target="ort-cpu", quantize="int4", warn=warnings.append)
    (warning,) = on_packing(warnings)
    assert "3 weights are stored quantized (GPTQ) and are widened, 18 go over as they are stored" in warning


@pytest.mark.parametrize(("dtype", "exact"), [("float16", True), ("bfloat16", False), ("float32", True)])
def test_scales_that_a_plan_would_round_are_not_taken_over(tmp_path: Path, dtype: str, exact: bool) -> None:
    """GPTQ's scales are float16: bfloat16 has fewer bits of mantissa."""
    packed = checkpoint(tmp_path, *gptq(symmetric=False))
    plan = build(packed.folder, out=tmp_path / "p.plan", target="ort-cuda", dtype=dtype, quantize="int4")
    assert any(name.endswith(".zero") for name in stored(plan)) == exact
