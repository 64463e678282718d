"""Rows of one magnitude: their numbers, rows of zeros, calls without rows, and activations that need no scaling."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from archc.compiler.graph.axes import ASKED, EXPERT_ROWS
from archc.compiler.lowerings.linear.unit_rows import NORMS, has_unit_rows, may_be_empty, unit_rows
from tests.compiler.graphs import build, operators, run, typed, value
from tests.compiler.lowerings.linear.cases import FLOAT, normal

WIDTH = 5
EMPTY = pytest.mark.parametrize("empty", [False, True], ids=["with-rows", "may-be-empty"])
SHAPES = pytest.mark.parametrize("shape", [(4, WIDTH), (2, 3, WIDTH)], ids=["rows", "sequences"])


def scaled(axes: tuple[str, ...], empty: bool) -> ir.Model:
    """The unit rows of x, and their magnitudes."""
    x = value("x", FLOAT, *axes, WIDTH)
    return build(
        [x],
        lambda op: [
            typed(result, name, FLOAT, *axes, size)
            for result, name, size in zip(unit_rows(op, x, empty), ("unit", "sizes"), (WIDTH, 1), strict=True)
        ],
    )


def results(x: NDArray[np.float32], empty: bool) -> list[NDArray[np.float32]]:
    axes = ("batch", "seq")[-(x.ndim - 1) :]
    return run(scaled(axes, empty), {"x": x})


@EMPTY
@SHAPES
def test_the_largest_element_of_a_row_becomes_one_or_minus_one(shape: tuple[int, ...], empty: bool) -> None:
    x = normal(*shape).numpy()
    x[0] *= 1e6
    unit, sizes = results(x, empty)
    np.testing.assert_array_equal(sizes, np.abs(x).max(-1, keepdims=True))
    np.testing.assert_array_equal(np.abs(unit).max(-1), np.ones(shape[:-1]))
    np.testing.assert_array_equal(unit, x / sizes)


@EMPTY
def test_a_row_of_zeros_stays_zero(empty: bool) -> None:
    x = normal(3, WIDTH).numpy()
    x[1] = 0
    unit, sizes = results(x, empty)
    assert not unit[1].any()
    assert sizes[1, 0] == np.finfo(np.float32).tiny
    assert np.isfinite(unit).all()


@pytest.mark.parametrize("shape", [(0, WIDTH), (2, 0, WIDTH)], ids=["rows", "sequences"])
def test_no_rows_have_no_magnitudes(shape: tuple[int, ...]) -> None:
    unit, sizes = results(np.zeros(shape, np.float32), empty=True)
    assert unit.shape == shape
    assert sizes.shape == (*shape[:-1], 1)


def test_only_rows_that_may_be_none_take_the_slower_largest_element() -> None:
    assert "ReduceMax" in operators(scaled(("n",), empty=False))
    assert "TopK" in operators(scaled(("n",), empty=True))


@pytest.mark.parametrize("op_type", NORMS)
def test_rows_behind_a_norm_have_one_magnitude(op_type: str) -> None:
    node = ir.Node("", op_type, [value("x", FLOAT, "n", WIDTH)], num_outputs=1)
    assert has_unit_rows(node.outputs[0])


@pytest.mark.parametrize("op_type", ["Mul", "Softmax", "Swish", "Add", None], ids=str)
def test_other_rows_have_not(op_type: str | None) -> None:
    x = value("x", FLOAT, "n", WIDTH)
    assert not has_unit_rows(x if op_type is None else ir.Node("", op_type, [x], num_outputs=1).outputs[0])


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
