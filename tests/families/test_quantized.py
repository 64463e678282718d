"""Quantized builds for the CPU, of the families of `covering` and of albert, whose layers share their weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from archc.proof.built import use_one_thread
from tests.families.covering import covering
from tests.families.quantized import WideFamily, check_quantized


@pytest.mark.parametrize("family", [*covering(), "albert"])
def test_every_quantization_is_near_float32(family: str, tmp_path: Path) -> None:
    use_one_thread()
    wide = WideFamily(family, tmp_path)
    assert [case for case, _ in check_quantized(wide)] == wide.quant_cases()
