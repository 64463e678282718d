"""Lazy weights: blocks of rows, sources that are read by rows, and names that tell bytes apart."""

from __future__ import annotations

import onnx_ir as ir
import pytest
import torch

from archc.compiler.weights import lazy
from archc.compiler.weights.lazy import JoinedRows, RowSource, StackedWeight, WeightTensor, join_rows
from archc.compiler.weights.steps import Normalize, Offset, Step, Transpose, Unflatten

FLOAT = ir.DataType.FLOAT
MATRIX = torch.arange(60.0).reshape(12, 5)


class Rows:
    """A matrix that is read by rows, with a record of the ranges."""

    def __init__(self, matrix: torch.Tensor) -> None:
        self.ranges: list[tuple[int, int]] = []
        self.matrix = matrix
        self.source = RowSource(tuple(matrix.shape), self.read)

    def read(self, start: int, stop: int) -> torch.Tensor:
        self.ranges.append((start, stop))
        return self.matrix[start:stop]


def test_rows_are_read_in_blocks_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy, "BLOCK_BYTES", 5 * 5 * 4)
    rows = Rows(MATRIX)
    blocks = list(WeightTensor("w", (12, 5), FLOAT).blocks(rows.source))
    assert [len(block) for block in blocks] == [5, 5, 2]
    assert rows.ranges == [(0, 5), (5, 10), (10, 12)]
    assert torch.equal(torch.cat(blocks), MATRIX)


@pytest.mark.parametrize(
    ("steps", "whole"),
    [
        pytest.param((Offset(1.0),), False, id="offset"),
        pytest.param((Normalize(eps=1e-6), Offset(1.0)), False, id="two-rowwise-steps"),
        pytest.param((Transpose(),), False, id="transpose"),
        pytest.param((Unflatten(3), Transpose()), True, id="transposed-heads"),
    ],
)
def test_a_source_gives_what_the_tensor_gives(
    steps: tuple[Step, ...], whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lazy, "BLOCK_BYTES", 60)
    monkeypatch.setattr(lazy, "_TRANSPOSED_BYTES", 12 * 2 * 4)
    weight = WeightTensor("w", (12, 5), FLOAT)
    for step in steps:
        weight = weight.then(step)
    rows = Rows(MATRIX)
    got = torch.cat(list(weight.blocks(rows.source)))
    assert torch.equal(got, torch.cat(list(weight.blocks(MATRIX))))
    assert got.shape == weight.sizes
    assert ((0, 12) in rows.ranges) == whole


def test_a_large_transposed_matrix_is_read_once_per_block_of_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy, "BLOCK_BYTES", 6 * 5 * 4)
    monkeypatch.setattr(lazy, "_TRANSPOSED_BYTES", 12 * 2 * 4)
    rows = Rows(MATRIX)
    blocks = list(WeightTensor("w", (5, 12), FLOAT, (Transpose(),)).blocks(rows.source))
    assert [tuple(block.shape) for block in blocks] == [(2, 12), (2, 12), (1, 12)]
    assert rows.ranges == [(0, 6), (6, 12)] * 3


def test_blocks_have_the_weight_s_dtype_unless_another_is_named() -> None:
    weight = WeightTensor("w", (12, 5), ir.DataType.FLOAT16)
    assert [next(weight.blocks(MATRIX, dtype)).dtype for dtype in (None, torch.float32)] == [
        torch.float16,
        torch.float32,
    ]


@pytest.mark.parametrize("stored_by_rows", [False, True], ids=["tensors", "sources"])
def test_joined_rows_are_read_from_the_tensors_that_hold_them(stored_by_rows: bool) -> None:
    pieces = [Rows(MATRIX[:4]), Rows(MATRIX[4:5]), Rows(MATRIX[5:])]
    joined = join_rows([piece.source if stored_by_rows else piece.matrix for piece in pieces])
    assert isinstance(joined, RowSource)
    assert joined.shape == (12, 5)
    for start, stop in ((0, 12), (1, 3), (3, 6), (4, 5), (11, 12)):
        assert torch.equal(joined.read(start, stop), MATRIX[start:stop])
        assert torch.equal(joined[start:stop].read(0, stop - start), MATRIX[start:stop])
    if stored_by_rows:
        assert pieces[1].ranges == [(0, 1)] * 6
    assert join_rows([MATRIX]) is MATRIX


def test_joined_weights_after_rowwise_steps() -> None:
    parts = [WeightTensor("a.norm", (4, 5), FLOAT).then(Offset(1.0)), WeightTensor("b.norm", (8, 5), FLOAT)]
    joined = JoinedRows(parts).then(Offset(2.0))
    assert (joined.slots, joined.sizes) == (("a.norm", "b.norm"), (12, 5))
    expected = torch.cat((MATRIX[:4] + 3, MATRIX[4:] + 2))
    assert torch.equal(torch.cat(list(joined.blocks(MATRIX))), expected)
    assert torch.equal(torch.cat(list(joined.blocks(Rows(MATRIX).source))), expected)


def test_the_name_tells_the_bytes() -> None:
    weight = WeightTensor("w", (12, 5), FLOAT)
    made = [
        weight,
        weight.then(Transpose()),
        weight.then(Unflatten(2)),
        weight.then(Unflatten(3)),
        weight.then(Unflatten(3)).then(Transpose()),
        weight.then(Offset(1.0)),
        weight.then(Offset(0.5)),
    ]
    assert [tensor.name for tensor in made] == [
        "w",
        "w.transpose",
        "w.unflatten_2",
        "w.unflatten_3",
        "w.unflatten_3.transpose",
        "w.offset_1",
        "w.offset_0.5",
    ]
    q, k = (WeightTensor(f"layers.0.{name}.weight", (4, 5), FLOAT) for name in "qk")
    assert JoinedRows([q, k]).name == "layers.0.q+k.weight"
    assert JoinedRows([q, WeightTensor("other", (4, 5), FLOAT)]).name == "layers.0.q.weight+other"


def test_a_stack_has_one_part_per_slot_after_the_same_steps() -> None:
    stack = StackedWeight("experts.up", ["experts.0.up", "experts.1.up"], (2, 6, 5), FLOAT).then(Transpose())
    assert (stack.name, stack.sizes) == ("experts.up.transpose", (2, 5, 6))
    assert [(part.slot, part.sizes, part.steps) for part in stack.in_parts()] == [
        ("experts.0.up", (5, 6), (Transpose(),)),
        ("experts.1.up", (5, 6), (Transpose(),)),
    ]


def test_a_weight_has_no_bytes_before_a_plan_is_written() -> None:
    with pytest.raises(RuntimeError, match="w has no bytes yet"):
        WeightTensor("w", (12, 5), FLOAT).numpy()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_a_matrix_without_rows(dtype: torch.dtype) -> None:
    (block,) = WeightTensor("w", (0, 5), FLOAT).blocks(torch.zeros(0, 5, dtype=dtype))
    assert (block.shape, block.dtype) == ((0, 5), torch.float32)
