"""Steps: the shape that each announces and the tensor that it makes, for the weight table and for lowerings."""

from __future__ import annotations

import pytest
import torch

from archc.archspec.vocabulary.verbs import VERBS, Unstack
from archc.compiler.weights.steps import (
    Concat,
    Deinterleave,
    Normalize,
    Offset,
    Permute,
    Reshape,
    Select,
    Split,
    Stack,
    Step,
    Transpose,
    Unflatten,
    apply_steps,
    is_rowwise,
    shape_after,
)

# Two groups, each of two query rows, a key row and a value row.
FUSED = torch.tensor([10, 11, 12, 13, 20, 21, 22, 23.0])
KERNEL = torch.arange(24.0).reshape(2, 3, 2, 2)
MATRIX = torch.arange(12.0).reshape(4, 3)


@pytest.mark.parametrize(
    ("take", "rows"), [(0, [10, 11, 20, 21]), (1, [12, 22]), (2, [13, 23])], ids=["query", "key", "value"]
)
def test_split_takes_its_part_of_every_group(take: int, rows: list[float]) -> None:
    step = Split(parts=(2, 1, 1), groups=2, take=take)
    assert apply_steps([FUSED], [step]).tolist() == rows
    matrix = FUSED[:, None].expand(8, 3)
    assert apply_steps([matrix], [step])[:, 0].tolist() == rows


def test_split_along_columns() -> None:
    step = Split(parts=(2, 1), axis=1, take=1)
    assert apply_steps([torch.tensor([[1, 2, 3.0], [4, 5, 6]])], [step]).tolist() == [[3], [6]]


def test_transpose_then_split() -> None:
    stored = torch.tensor([[1, 2, 3, 4.0], [5, 6, 7, 8]])
    assert apply_steps([stored], [Transpose(), Split(parts=(1, 3))]).tolist() == [[1, 5]]


def test_concat_keeps_the_order_of_its_tensors() -> None:
    first, second = torch.ones(1, 2), torch.zeros(2, 2)
    assert apply_steps([first, second], [Concat()]).tolist() == [[1, 1], [0, 0], [0, 0]]
    assert apply_steps([first, second[:1]], [Concat(axis=1)]).tolist() == [[1, 1, 0, 0]]


def test_stack_adds_a_first_axis_in_the_order_of_its_tensors() -> None:
    first, second = torch.tensor([1, 2.0]), torch.tensor([3, 4.0])
    assert apply_steps([first, second], [Stack(count=2)]).tolist() == [[1, 2], [3, 4]]
    matrix = torch.tensor([[1, 2.0], [3, 4]])
    assert apply_steps([first, second], [Stack(count=2, axis="first")]).tolist() == [1, 2, 3, 4]
    assert apply_steps([matrix, -matrix], [Transpose(), Stack(count=2)]).tolist() == [
        [[1, 3], [2, 4]],
        [[-1, -3], [-2, -4]],
    ]


def test_unflatten_splits_rows_into_heads() -> None:
    assert apply_steps([MATRIX], [Unflatten(2)]).tolist() == [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]]


def test_offset_adds_in_float32() -> None:
    got = apply_steps([torch.tensor([0.5, -1.0]).half()], [Offset(1.0)])
    assert (got.dtype, got.tolist()) == (torch.float32, [1.5, 0.0])


def test_select_takes_one_tap_of_a_kernel() -> None:
    kernel = torch.arange(12.0).reshape(2, 3, 2, 1)
    assert apply_steps([kernel], [Select(axis=2, index=(1, 0))]).tolist() == [[1, 3, 5], [7, 9, 11]]
    assert apply_steps([kernel], [Select(axis=1, index=(2,)), Select(axis=2, index=(0,))]).tolist() == [
        [4, 5],
        [10, 11],
    ]


def test_deinterleave_puts_alternating_rows_after_each_other() -> None:
    assert apply_steps([torch.arange(6)], [Deinterleave(parts=2)]).tolist() == [0, 2, 4, 1, 3, 5]
    assert apply_steps([torch.arange(12).reshape(6, 2)], [Deinterleave(parts=3)])[:, 0].tolist() == [0, 6, 2, 8, 4, 10]
    with pytest.raises(ValueError, match="no first axis that is a multiple of 4"):
        apply_steps([torch.arange(6)], [Deinterleave(parts=4)])


def test_permute_reorders_axes() -> None:
    kernel = torch.arange(6).reshape(1, 2, 3)
    assert apply_steps([kernel], [Permute(order=(2, 0, 1))]).tolist() == [[[0, 3]], [[1, 4]], [[2, 5]]]
    with pytest.raises(ValueError, match="has 3 axes, and the order is"):
        apply_steps([kernel], [Permute(order=(1, 0))])


def test_normalize_makes_unit_rows() -> None:
    rows = torch.tensor([[3, 4.0], [0, 0], [1e-14, 0]])
    got = apply_steps([rows.double()], [Normalize(eps=1e-12)])
    assert got.dtype == torch.float64
    assert torch.allclose(got, torch.tensor([[0.6, 0.8], [0, 0], [0.01, 0]]).double())
    half = apply_steps([torch.tensor([[300, 400.0]]).half()], [Normalize(eps=1e-12)])
    assert half.dtype == torch.float32
    assert torch.allclose(half, torch.tensor([[0.6, 0.8]]))


RESULTS = [
    pytest.param([MATRIX], Transpose(), id="transpose"),
    pytest.param([FUSED], Transpose(), id="transpose-vector"),
    pytest.param([KERNEL], Transpose(), id="transpose-stack"),
    pytest.param([MATRIX], Unflatten(2), id="unflatten"),
    pytest.param([MATRIX], Offset(2.0), id="offset"),
    pytest.param([MATRIX], Split(parts=(1, 3), take=1), id="split-rows"),
    pytest.param([MATRIX], Split(parts=(1, 2), axis=1), id="split-columns"),
    pytest.param([KERNEL], Select(axis=1, index=(2, 1)), id="select"),
    pytest.param([KERNEL], Reshape(shape=(6, 4)), id="reshape"),
    pytest.param([KERNEL], Permute(order=(1, 2, 3, 0)), id="permute"),
    pytest.param([MATRIX], Deinterleave(parts=2), id="deinterleave"),
    pytest.param([MATRIX], Normalize(eps=1e-6), id="normalize"),
    pytest.param([MATRIX, MATRIX[:1]], Concat(), id="concat-rows"),
    pytest.param([MATRIX, MATRIX[:, :2]], Concat(axis=1), id="concat-columns"),
    pytest.param([MATRIX, MATRIX], Stack(count=2), id="stack"),
    pytest.param([MATRIX, MATRIX[:1]], Stack(count=2, axis="first"), id="stack-joined"),
]
STEPS = [case.values[1] for case in RESULTS]


@pytest.mark.parametrize(("values", "step"), RESULTS)
def test_the_announced_shape_is_the_result_s(values: list[torch.Tensor], step: Step) -> None:
    shape = shape_after([tuple(value.shape) for value in values], [step])
    assert shape == tuple(apply_steps(values, [step]).shape)


@pytest.mark.parametrize("step", [Offset(2.0), Normalize(eps=1e-6)], ids=["offset", "normalize"])
def test_rowwise_steps_need_only_their_rows(step: Step) -> None:
    assert is_rowwise([step])
    assert torch.equal(apply_steps([MATRIX], [step])[1:3], apply_steps([MATRIX[1:3]], [step]))


@pytest.mark.parametrize(
    ("shapes", "step", "message"),
    [
        pytest.param(
            [(8,)], Split(parts=(2, 1), groups=3), r"axis 0 of \[8\] does not have size 3 × 3", id="split-size"
        ),
        pytest.param([(8,)], Split(parts=(2, 6), axis=1), r"axis 1 of \[8\] does not", id="split-missing-axis"),
        pytest.param(
            [(2, 3, 2, 1)], Select(axis=2, index=(2, 0)), r"\[2, 0\] is out of bounds for axes \[2, 1\]", id="select"
        ),
        pytest.param(
            [(2, 3, 2, 1)], Select(axis=3, index=(0, 0)), r"out of bounds for axes \[1\]", id="select-too-many-axes"
        ),
        pytest.param(
            [(2, 3, 2, 1)], Select(axis=4, index=(0,)), r"out of bounds for axes \[\]", id="select-missing-axis"
        ),
        pytest.param([(2, 3)], Reshape(shape=(5,)), r"\[2, 3\] has 6 elements, \[5\] has 5", id="reshape"),
        pytest.param([(7, 3)], Unflatten(2), "no first axis that is a multiple of 2", id="heads"),
        pytest.param([(2, 3), (2, 4)], Concat(), "cannot be concatenated along axis 0", id="concat-widths"),
        pytest.param([(2,), (2,)], Concat(axis=1), "cannot be concatenated along axis 1", id="concat-vectors"),
        pytest.param([(2, 3), (2, 4)], Stack(count=2), "cannot be stacked: the shapes differ", id="stack"),
    ],
)
def test_a_step_that_does_not_fit(shapes: list[tuple[int, ...]], step: Step, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        shape_after(shapes, [step])
    with pytest.raises(ValueError, match=message):
        apply_steps([torch.zeros(shape) for shape in shapes], [step])


def test_several_tensors_need_a_join() -> None:
    with pytest.raises(ValueError, match="2 tensors, and no concat or stack"):
        apply_steps([FUSED, FUSED], [Transpose()])


def test_the_table_above_has_every_verb_and_unstack_is_resolved_before() -> None:
    assert {type(step) for step in STEPS} - {Unflatten, Offset} | {Unstack} == set(VERBS.values())
    with pytest.raises(ValueError, match="not a step of one tensor"):
        apply_steps([MATRIX], [Unstack()])
    assert not is_rowwise([Normalize(eps=1e-6), Transpose()])
    assert is_rowwise([])
