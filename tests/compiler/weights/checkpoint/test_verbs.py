from __future__ import annotations

import pytest
import torch

from archc.archspec import Concat, Normalize, Select, Split, Stack, Transpose
from archc.compiler.weights.checkpoint.verbs import apply_steps

# Two groups, each of two query rows, a key row and a value row.
FUSED = torch.tensor([10, 11, 12, 13, 20, 21, 22, 23.0])


@pytest.mark.parametrize(("take", "rows"), [(0, [10, 11, 20, 21]), (1, [12, 22]), (2, [13, 23])])
def test_split_takes_its_part_of_every_group(take: int, rows: list[float]) -> None:
    step = Split(axis=0, groups=2, parts=(2, 1, 1), take=take)
    assert apply_steps([FUSED], [step]).tolist() == rows
    matrix = FUSED[:, None].expand(8, 3)
    assert apply_steps([matrix], [step])[:, 0].tolist() == rows


def test_split_along_columns() -> None:
    step = Split(axis=1, groups=1, parts=(2, 1), take=1)
    assert apply_steps([torch.tensor([[1, 2, 3.0], [4, 5, 6]])], [step]).tolist() == [[3], [6]]


def test_transpose_then_split() -> None:
    stored = torch.tensor([[1, 2, 3, 4.0], [5, 6, 7, 8]])
    steps = [Transpose(), Split(axis=0, groups=1, parts=(1, 3), take=0)]
    assert apply_steps([stored], steps).tolist() == [[1, 5]]


def test_concat() -> None:
    assert apply_steps([torch.ones(1, 2), torch.zeros(2, 2)], [Concat(axis=0)]).shape == (3, 2)


def test_a_stack_has_its_tensors_in_order() -> None:
    first, second = torch.tensor([1, 2.0]), torch.tensor([3, 4.0])
    assert apply_steps([first, second], [Stack(count=2)]).tolist() == [[1, 2], [3, 4]]
    matrix = torch.tensor([[1, 2.0], [3, 4]])
    assert apply_steps([matrix, -matrix], [Transpose(), Stack(count=2)]).tolist() == [
        [[1, 3], [2, 4]],
        [[-1, -3], [-2, -4]],
    ]


def test_a_size_that_does_not_divide() -> None:
    with pytest.raises(ValueError, match="8 long"):
        apply_steps([FUSED], [Split(axis=0, groups=3, parts=(2, 1), take=0)])


def test_several_tensors_need_a_concat() -> None:
    with pytest.raises(ValueError, match="2 tensors"):
        apply_steps([FUSED, FUSED], [])


def test_select_takes_one_tap_of_a_kernel() -> None:
    kernel = torch.arange(12.0).reshape(2, 3, 2, 1)
    assert apply_steps([kernel], [Select(axis=2, index=(1, 0))]).tolist() == [[1, 3, 5], [7, 9, 11]]
    assert apply_steps([kernel], [Select(axis=1, index=(2,)), Select(axis=2, index=(0,))]).tolist() == [
        [4, 5],
        [10, 11],
    ]


@pytest.mark.parametrize(("axis", "index"), [(2, (2, 0)), (3, (0, 0)), (4, (0,))])
def test_a_place_that_is_not_there(axis: int, index: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="in axes of sizes"):
        apply_steps([torch.zeros(2, 3, 2, 1)], [Select(axis=axis, index=index)])


def test_normalize_gives_rows_of_length_one() -> None:
    rows = torch.tensor([[3, 4.0], [0, 0], [1e-14, 0]])
    got = apply_steps([rows.double()], [Normalize(eps=1e-12)])
    assert got.dtype == torch.float64
    assert torch.allclose(got, torch.tensor([[0.6, 0.8], [0, 0], [0.01, 0]]).double())
    half = apply_steps([torch.tensor([[300, 400.0]]).half()], [Normalize(eps=1e-12)])
    assert half.dtype == torch.float32
    assert torch.allclose(half, torch.tensor([[0.6, 0.8]]))
