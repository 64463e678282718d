"""A checkpoint seen as slots: what is read of a tensor must be all of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from compiler.build import build
from compiler.errors import BuildError
from tests.reference.yuan2 import Yuan2

KERNEL = "model.layers.0.self_attn.lf_gate.conv1.weight"


@pytest.mark.parametrize(
    ("axis", "message"),
    [
        (2, r"\[30, 60, 3, 1\] has 3 places from axis 2 on, and the weight table reads 2"),
        (3, r"\[30, 60, 2, 2\] has 4 places from axis 2 on, and the weight table reads 2"),
    ],
)
def test_a_place_that_fills_no_slot(axis: int, message: str, tmp_path: Path) -> None:
    Yuan2(1, layers=1).save(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    tensors[KERNEL] = torch.cat((tensors[KERNEL], tensors[KERNEL].narrow(axis, 0, 1)), dim=axis)
    save_file(tensors, file)
    with pytest.raises(BuildError, match=f"'{KERNEL}' {message}"):
        build(tmp_path, out=tmp_path / "engine.plan")
