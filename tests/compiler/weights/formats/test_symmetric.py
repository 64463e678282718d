"""Symmetric quantization for DequantizeLinear: elements and scales by hand, layouts, and the edges of its shapes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
import torch

from archc.compiler.weights.formats.symmetric import NumberFormat, SymmetricFormat
from archc.compiler.weights.lazy import StackedWeight, WeightTensor
from tests.compiler.weights.formats.written import elements, matrix, of_matrix, written

ROWS = torch.tensor([[7.0, -3.5, 0.9, 0.0], [0.0, 1.4, -2.8, 2.8]])
# Half a step of an integer's scale; half of the last bit of a float8's mantissa, for the largest elements.
MOST = {"int8": 0.5 / 127, "int4": 0.5 / 7, "fp8": 16 / 448}
EVERY_KIND = pytest.mark.parametrize("kind", ["int8", "int4", "fp8"])
LAYOUT = pytest.mark.parametrize("transposed", [True, False], ids=["transposed", "rows"])


def test_integers_and_scales_by_hand() -> None:
    int4 = SymmetricFormat("int4", 2)
    scales = int4.scales(ROWS, torch.float32)
    torch.testing.assert_close(scales, torch.tensor([[1.0, 0.9 / 7], [0.2, 0.4]]))
    assert int4.elements(ROWS, scales).tolist() == [[7, -4, 7, 0], [0, 7, -7, 7]]
    int8 = SymmetricFormat("int8")
    torch.testing.assert_close(int8.scales(ROWS, torch.float32), torch.tensor([[7 / 127], [2.8 / 127]]) * 1024)


def test_a_negative_element_may_be_the_largest() -> None:
    rows = torch.tensor([[-7.0, 1.0]])
    int4 = SymmetricFormat("int4", 2)
    scales = int4.scales(rows, torch.float32)
    assert (scales.tolist(), int4.elements(rows, scales).tolist()) == ([[1.0]], [[-7, 1]])


def test_float8_by_hand() -> None:
    rows = torch.tensor([[448.0, -1.1, 0.0, 17.0], [-0.5, 0.25, 0.1, 0.0]])
    fp8 = SymmetricFormat("fp8")
    scales = fp8.scales(rows, torch.float32)
    torch.testing.assert_close(scales, torch.tensor([[1.0], [0.5 / 448]]) * 4096)
    # 3 bits of mantissa: steps of 1/8 from 1 to 2, of 2 from 16 to 32 (17 lies between, and goes to the even one), of
    # 8 from 64 to 128.
    assert fp8.elements(rows, scales).float().tolist() == [[448, -1.125, 0, 16], [-448, 224, 88, 0]]
    assert fp8.dtype == ir.DataType.FLOAT8E4M3FN


def test_int4_packs_two_neighbors_of_a_stored_row() -> None:
    rows = torch.tensor([[7.0, -4.0], [-1.0, 7.0]])
    assert of_matrix(SymmetricFormat("int4", 2, transposed=False), rows)["elements"].tolist() == [0xC7, 0x7F]
    assert of_matrix(SymmetricFormat("int4", 2), rows)["elements"].tolist() == [0xF7, 0x7C]


def test_scales_and_elements_agree_in_float16() -> None:
    got = of_matrix(SymmetricFormat("int8"), torch.full((2, 64), 0.1), ir.DataType.FLOAT16)
    assert got["scales"].dtype == torch.float16
    restored = got["elements"].float() * got["scales"].float() / 1024
    torch.testing.assert_close(restored, torch.full((64, 2), 0.1), rtol=1e-3, atol=0)


def test_rows_of_zeros_and_of_numbers_too_small_for_the_dtype() -> None:
    rows = torch.zeros(2, 32)
    rows[1] = 1e-12
    got = of_matrix(SymmetricFormat("int8"), rows, ir.DataType.FLOAT16)
    assert (got["scales"] == 1).all()
    assert not got["elements"].any()


@EVERY_KIND
@LAYOUT
def test_a_matrix_is_restored_within_half_a_step(kind: NumberFormat, transposed: bool) -> None:
    table = matrix(6, 64)
    chosen = SymmetricFormat.fitting(kind, 6, 64, transposed)
    assert chosen is not None
    tensors = chosen.tensors(WeightTensor("w", (6, 64), ir.DataType.FLOAT))
    suffix = f"w{'' if transposed else '.rows'}.symmetric.{kind}"
    assert [tensor.name for tensor in tensors.values()] == [suffix, f"{suffix}.scale"]
    got = written(tensors, {"w": table})
    restored = elements(tensors["elements"], got["elements"]) * chosen.prescale
    scales = got["scales"].numpy()
    if kind == "int4":
        scales = np.repeat(scales, 64, axis=0 if transposed else 1)
    restored = restored * (scales if transposed or kind == "int4" else scales[:, None])
    expected = table.t().numpy() if transposed else table.numpy()
    gap = np.abs(restored - expected) / np.abs(expected).max(axis=0 if transposed else 1, keepdims=True)
    assert MOST[kind] * 0.5 < gap.max() <= MOST[kind] * (1 + 1e-5)


@EVERY_KIND
def test_a_stack_has_the_tensors_of_each_matrix(kind: NumberFormat) -> None:
    slots = {f"experts.{index}.up": matrix(6, 64, seed=index) * 10**index for index in range(3)}
    chosen = SymmetricFormat.fitting(kind, 6, 64)
    assert chosen is not None
    stack = StackedWeight("experts.up", list(slots), (3, 6, 64), ir.DataType.FLOAT)
    tensors = chosen.tensors(stack)
    assert tensors["elements"].sizes == (3, 64, 6)
    assert tensors["scales"].sizes == (3, 1, 6)
    got = written(tensors, slots)
    for index, table in enumerate(slots.values()):
        alone = of_matrix(chosen, table)
        for role in ("elements", "scales"):
            size = alone[role].numel()
            assert torch.equal(got[role].flatten()[index * size : (index + 1) * size], alone[role].flatten())


@pytest.mark.parametrize(
    ("kind", "rows", "columns", "transposed", "block"),
    [
        pytest.param("int8", 5, 17, True, None, id="int8-any-size"),
        pytest.param("fp8", 5, 17, False, None, id="fp8-any-size"),
        pytest.param("int4", 6, 96, True, 32, id="int4"),
        pytest.param("int4", 5, 96, False, 32, id="int4-odd-rows-of-a-table"),
    ],
)
def test_what_fits(kind: NumberFormat, rows: int, columns: int, transposed: bool, block: int | None) -> None:
    chosen = SymmetricFormat.fitting(kind, rows, columns, transposed)
    assert chosen == SymmetricFormat(kind, block, transposed)
    of_matrix(chosen, matrix(rows, columns))


@pytest.mark.parametrize(
    ("rows", "columns", "block", "message"),
    [
        pytest.param(6, 20, 16, "20 columns are not a multiple of the block size 16", id="width"),
        pytest.param(5, 64, 64, "rows of 5 4-bit elements do not fill whole bytes", id="odd-rows"),
    ],
)
def test_what_does_not_fit(rows: int, columns: int, block: int, message: str) -> None:
    assert SymmetricFormat.fitting("int4", rows, columns) is None
    with pytest.raises(ValueError, match=f"w: {message}"):
        SymmetricFormat("int4", block).tensors(WeightTensor("w", (rows, columns), ir.DataType.FLOAT))


@EVERY_KIND
@LAYOUT
def test_a_matrix_without_rows(kind: NumberFormat, transposed: bool) -> None:
    chosen = SymmetricFormat.fitting(kind, 0, 64, transposed)
    assert chosen is not None
    got = of_matrix(chosen, torch.zeros(0, 64))
    assert [tensor.numel() for tensor in got.values()] == [0, 0]
