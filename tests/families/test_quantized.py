"""Quantized builds for the CPU, of the families of `covering` and of albert, whose layers share their weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from archc.proof.built import use_one_thread
from tests.families.covering import covering
from tests.families.quantized import WideFamily, check_optimum, check_quantized


@pytest.mark.parametrize("family", [*covering(), "albert"])
def test_every_quantization_is_near_float32(family: str, tmp_path: Path) -> None:
    use_one_thread()
    wide = WideFamily(family, tmp_path)
    assert [case for case, _ in check_quantized(wide)] == wide.quant_cases()


@pytest.mark.parametrize("family", ["qwen2", "gpt2", "deepseek-v2", "mamba", "qwen3-5"])
def test_quantized_layout_of_optimum_is_near_float32(family: str, tmp_path: Path) -> None:
    use_one_thread()
    errors = {case.name: error for case, error in check_optimum(WideFamily(family, tmp_path))}
    assert set(errors) == {"int8", "int4"}
    assert 0 < errors["int8"] < errors["int4"] / 2, "more bits are nearer"
