"""Quantized plans: matrices that stay in float are named, plans without quantized weights and NaN are refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx_ir as ir
import pytest
import torch
from safetensors.torch import load_file, save_file

from archc.compiler.build import build
from archc.compiler.errors import BuildError
from archc.compiler.weights.formats.channels import ChannelFormat
from archc.compiler.weights.formats.coverage import check_coverage
from archc.compiler.weights.lazy import WeightTensor

TINY = Path(__file__).parents[4] / "examples" / "tiny-qwen2"
NORM, MATRIX = "model.norm.weight", "model.layers.0.mlp.up_proj.weight"


def matrix(slot: str, columns: int) -> WeightTensor:
    return WeightTensor(slot, [4, columns], ir.DataType.FLOAT)


QUANTIZED = ChannelFormat().tensors(matrix("a.weight", 32))["integers"]


def test_a_plan_of_quantized_matrices_has_no_note() -> None:
    norm = WeightTensor("norm.weight", [36], ir.DataType.FLOAT)
    assert check_coverage([QUANTIZED, norm, matrix("mlp.router.weight", 36)], "int8") is None
    assert check_coverage([matrix("a.weight", 36)], None) is None


def test_matrices_of_widths_without_a_block_are_named() -> None:
    wide = [matrix(f"layers.{index}.weight", 36) for index in range(6)]
    note = check_coverage([QUANTIZED, *wide], "int4")
    assert note is not None
    assert "6 matrices stay in float" in note
    assert "widths 36: layers.0.weight, layers.1.weight, layers.2.weight, layers.3.weight and 2 more" in note


def test_a_plan_without_quantized_weights_is_refused() -> None:
    with pytest.raises(BuildError, match=r"--quantize int4: no weight can be quantized: no block size divides .* 36"):
        check_coverage([matrix("a.weight", 36)], "int4")


@pytest.mark.parametrize("number", [float("nan"), float("inf")], ids=["nan", "infinite"])
@pytest.mark.parametrize("quantize", ["int8", "int4"])
@pytest.mark.parametrize(("name", "slot"), [(NORM, "final_norm"), (MATRIX, "layers.0.mlp")], ids=["norm", "matrix"])
def test_numbers_that_are_not_finite_are_refused(
    name: str, slot: str, quantize: str, number: float, tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(TINY, folder)
    tensors = load_file(folder / "model.safetensors")
    tensors[name].view(-1)[5] = torch.tensor(number)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(BuildError, match=rf"{slot}.*NaN or infinite values.*build without --quantize"):
        build(folder, out=tmp_path / "engine.plan", quantize=quantize)
    assert not (tmp_path / "engine.plan").exists()


def test_a_float_plan_warns_in_python(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(TINY, folder)
    tensors = load_file(folder / "model.safetensors")
    tensors[NORM][5] = torch.nan
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.warns(UserWarning, match="final_norm.*NaN or infinite values"):
        build(folder, out=tmp_path / "engine.plan")
