"""Block quantization: integers and scales by hand, two levels of scales, and the edges of its shapes."""

from __future__ import annotations

import onnx_ir as ir
import pytest
import torch

from archc.compiler.weights.formats.blocks import MAX_MULTIPLE, BlockFormat, block_size, quantize_blocks, row_scales
from archc.compiler.weights.formats.format import Bits, pack
from archc.compiler.weights.lazy import WeightTensor
from tests.compiler.weights.formats.written import matrix, of_matrix

BITS = pytest.mark.parametrize("bits", [4, 8], ids=["int4", "int8"])


@BITS
def test_integers_and_scales_of_a_block_by_hand(bits: Bits) -> None:
    half = 2 ** (bits - 1)
    row = torch.zeros(1, 32)
    row[0, :4] = torch.tensor([-2.0, 1.0, 0.5, 2.0 / half])
    row[0, 16:18] = torch.tensor([3.0, -1.5])
    integers, scales = quantize_blocks(row, bits, 16)
    assert scales.tolist() == [[2.0 / half, -3.0 / half]]  # the largest becomes −half, whatever its sign
    assert integers[0, 0, :5].tolist() == [0, half + half // 2, half + half // 4, half + 1, half]
    assert integers[0, 1, :3].tolist() == [0, half + half // 2, half]


def test_of_two_4_bit_integers_the_first_is_the_low_half() -> None:
    assert pack(torch.tensor([[1, 2, 15, 0]], dtype=torch.uint8), 4).tolist() == [[0x21, 0x0F]]


def test_integers_are_computed_with_the_scales_as_stored() -> None:
    row = torch.full((1, 16), 0.1)
    row[0, 0] = -1.0 / 3
    integers, scales = quantize_blocks(row, 8, 16, torch.bfloat16)
    assert scales.dtype == torch.bfloat16
    got = (integers.float() - 128) * scales.float().unsqueeze(-1)
    assert got[0, 0, 1].item() == pytest.approx(0.1, abs=float(scales) * 0.501)


@BITS
def test_no_element_is_off_by_more_than_half_a_step(bits: Bits) -> None:
    rows = matrix(5, 256)
    integers, scales = quantize_blocks(rows, bits, 128)
    got = (integers.float() - 2 ** (bits - 1)) * scales.unsqueeze(-1)
    # The largest positive integer is one step short of the largest element's opposite.
    assert ((got.flatten(1) - rows).abs() <= scales.abs().repeat_interleave(128, -1) * 1.0001).all()
    assert ((got.flatten(1) - rows).abs() <= scales.abs().repeat_interleave(128, -1) / 2 * 1.0001).float().mean() > 0.97


def test_scales_of_two_levels_are_multiples_that_fit_a_byte_and_reach_the_largest_element() -> None:
    table = matrix(24, 96)
    table[2], table[3, :32], table[4, 40] = 0, 0, 9.0
    row_scales_N1 = row_scales(table, 4)
    integers, scales = quantize_blocks(table, 4, 32, row_scales_N1=row_scales_N1)
    multiples = scales / torch.where(row_scales_N1 == 0, 1.0, row_scales_N1)
    assert torch.allclose(multiples, multiples.round(), atol=1e-5)
    assert multiples.abs().max().round() == MAX_MULTIPLE
    unpacked = (integers.int() - 8) * multiples.round().int().unsqueeze(-1)
    assert -128 <= unpacked.min() < unpacked.max() <= 127
    # No scale grows by more than a row scale, and nothing is cut off.
    _, free = quantize_blocks(table, 4, 32)
    assert ((scales.abs() - free.abs() <= row_scales_N1 * 1.0001) & (scales.abs() >= free.abs() * 0.9999)).all()
    stored = ((integers.double() - 8) * scales.double().unsqueeze(-1)).flatten(1)
    assert ((stored - table).abs() <= scales.abs().repeat_interleave(32, -1) * 1.0001).all()


@BITS
def test_the_tensors_of_a_matrix(bits: Bits) -> None:
    table = matrix(24, 96)
    tensors = BlockFormat(bits, 32).tensors(WeightTensor("w", (24, 96), ir.DataType.FLOAT))
    assert {role: (tensor.name, tensor.sizes, tensor.dtype) for role, tensor in tensors.items()} == {
        "integers": (f"w.int{bits}", (24, 3, 4 * bits), ir.DataType.UINT8),
        "scales": (f"w.int{bits}.scale", (24, 3), ir.DataType.FLOAT),
    }
    got = of_matrix(BlockFormat(bits, 32), table)
    integers, scales = quantize_blocks(table, bits, 32)
    assert torch.equal(got["integers"], pack(integers, bits))
    assert torch.equal(got["scales"], scales)


def test_two_levels_are_two_more_tensors() -> None:
    table = matrix(24, 96)
    table[2] = 0
    got = of_matrix(BlockFormat(4, 32, two_level=True), table)
    assert [*got] == ["integers", "scales", "row_scales", "multiples"]
    assert (got["row_scales"].shape, got["multiples"].shape) == ((24,), (24, 3, 1))
    assert torch.equal(got["row_scales"], row_scales(table, 4).squeeze(-1))
    torch.testing.assert_close(got["multiples"].squeeze(-1) * got["row_scales"].unsqueeze(-1), got["scales"])
    assert not got["multiples"][2].any()


def test_scales_have_the_weight_s_dtype() -> None:
    got = of_matrix(BlockFormat(4, 32), matrix(4, 32), ir.DataType.FLOAT16)
    assert got["scales"].dtype == torch.float16


def test_a_row_of_zeros_stays_zero() -> None:
    integers, scales = quantize_blocks(torch.zeros(1, 16), 4, 16)
    assert scales.tolist() == [[0.0]]
    assert (integers == 8).all()


@pytest.mark.parametrize("two_level", [False, True], ids=["one-level", "two-levels"])
def test_a_matrix_without_rows(two_level: bool) -> None:
    got = of_matrix(BlockFormat(4, 32, two_level), torch.zeros(0, 64))
    assert all(tensor.shape[0] == 0 for tensor in got.values())


@pytest.mark.parametrize(
    ("columns", "size"), [(256, 128), (192, 64), (96, 32), (48, 16), (16, 16), (20, None), (17, None)]
)
def test_the_largest_block_that_divides_a_row(columns: int, size: int | None) -> None:
    assert block_size(columns) == size


def test_a_width_that_blocks_do_not_divide() -> None:
    with pytest.raises(ValueError, match="w: 80 columns are not a multiple of the block size 32"):
        BlockFormat(4, 32).tensors(WeightTensor("w", (4, 80), ir.DataType.FLOAT))
