"""Rows in uint8: their numbers, rows of zeros, calls without rows, and products that no other row changes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from archc.compiler.graph.axes import ASKED, EXPERT_ROWS
from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.lowerings.linear.quantized_rows import may_be_empty, quantize_rows
from tests.compiler.graphs import build, operators, run, typed, value
from tests.compiler.lowerings.linear.cases import FLOAT, normal

WIDTH = 5
EMPTY = pytest.mark.parametrize("empty", [False, True], ids=["with-rows", "may-be-empty"])
SHAPES = pytest.mark.parametrize("shape", [(4, WIDTH), (2, 3, WIDTH)], ids=["rows", "sequences"])


def quantized(axes: tuple[str, ...], empty: bool) -> ir.Model:
    """The integers of x, and the largest magnitudes of its rows."""
    x = value("x", FLOAT, *axes, WIDTH)

    def results(op: GraphBuilder) -> list[ir.Value]:
        rows = quantize_rows(op, x, empty)
        integers = typed(rows.integers, "integers", ir.DataType.UINT8, *axes, WIDTH)
        return [integers, typed(rows.sizes, "sizes", FLOAT, *axes, 1)]

    return build([x], results)


def rows_of(x: NDArray[np.float32], empty: bool) -> list[NDArray[np.float32]]:
    axes = ("batch", "seq")[-(x.ndim - 1) :]
    return run(quantized(axes, empty), {"x": x})


@EMPTY
@SHAPES
def test_a_row_is_its_integers_by_its_largest_magnitude(shape: tuple[int, ...], empty: bool) -> None:
    x = normal(*shape).numpy()
    x[0] *= 1e6
    integers, sizes = rows_of(x, empty)
    np.testing.assert_array_equal(sizes, np.abs(x).max(-1, keepdims=True))
    signed = integers.astype(np.float64) - 128
    np.testing.assert_array_equal(np.abs(signed).max(-1), np.full(shape[:-1], 127))
    assert (np.abs(signed / 127 * sizes - x) <= sizes / 254 * (1 + 1e-5)).all()


@EMPTY
def test_a_row_of_zeros_stays_zero(empty: bool) -> None:
    x = normal(3, WIDTH).numpy()
    x[1] = 0
    integers, sizes = rows_of(x, empty)
    assert (integers[1] == 128).all()
    assert sizes[1, 0] == np.finfo(np.float32).tiny


@pytest.mark.parametrize("shape", [(0, WIDTH), (2, 0, WIDTH)], ids=["rows", "sequences"])
def test_no_rows_have_no_magnitudes(shape: tuple[int, ...]) -> None:
    integers, sizes = rows_of(np.zeros(shape, np.float32), empty=True)
    assert integers.shape == shape
    assert sizes.shape == (*shape[:-1], 1)


def test_only_rows_that_may_be_none_take_the_slower_largest_element() -> None:
    assert "ReduceMax" in operators(quantized(("n",), empty=False))
    assert "TopK" in operators(quantized(("n",), empty=True))


@pytest.mark.parametrize(
    ("axes", "empty"),
    [
        (("batch", ASKED, WIDTH), True),
        ((EXPERT_ROWS, WIDTH), True),
        (("batch", "seq", WIDTH), False),
        ((ASKED, "seq", WIDTH), False),
        ((3, WIDTH), False),
    ],
    ids=["asked", "expert-rows", "sequences", "asked-elsewhere", "fixed"],
)
def test_a_call_may_have_no_rows_by_the_name_of_their_axis(axes: tuple[int | str, ...], empty: bool) -> None:
    assert may_be_empty(value("x", FLOAT, *axes)) is empty


def test_rows_of_unknown_shape_are_some() -> None:
    assert not may_be_empty(ir.Value(name="x"))
