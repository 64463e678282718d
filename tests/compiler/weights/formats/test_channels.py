"""Per-channel int8: integers and scales by hand, and the edges of its shapes."""

from __future__ import annotations

import onnx_ir as ir
import torch

from archc.compiler.weights.formats.channels import ChannelFormat
from archc.compiler.weights.lazy import WeightTensor
from tests.compiler.weights.formats.written import matrix, of_matrix


def test_integers_and_scales_by_hand() -> None:
    got = of_matrix(ChannelFormat(), torch.tensor([[127.0, -63.4, 0.4], [0.0, 0.0, 0.0], [-2.54, 1.27, 0.02]]))
    torch.testing.assert_close(got["scales"], torch.tensor([1.0, 0.0, 0.02]))
    assert got["integers"].tolist() == [[127, 0, -127], [-63, 0, 64], [0, 0, 1]]  # [in, out]


def test_the_tensors_of_a_matrix() -> None:
    tensors = ChannelFormat().tensors(WeightTensor("w", (6, 5), ir.DataType.FLOAT))
    assert {role: (tensor.name, tensor.sizes, tensor.dtype) for role, tensor in tensors.items()} == {
        "scales": ("w.channel.scale", (6,), ir.DataType.FLOAT),
        "integers": ("w.channel", (5, 6), ir.DataType.INT8),
    }


def test_no_element_is_off_by_more_than_half_a_step() -> None:
    table = matrix(7, 33)  # odd on both sides
    got = of_matrix(ChannelFormat(), table)
    gap = (got["integers"].float() * got["scales"] - table.t()).abs()
    assert (gap <= got["scales"] / 2 * 1.0001).all()
    assert gap.max() > 0


def test_a_matrix_without_rows() -> None:
    got = of_matrix(ChannelFormat(), torch.zeros(0, 8))
    assert (got["scales"].shape, got["integers"].shape) == ((0,), (8, 0))
