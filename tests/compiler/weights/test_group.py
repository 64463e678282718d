"""Groups: a quantized matrix is read once for all of its tensors, in whatever order these are written."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import permutations

import onnx_ir as ir
import pytest
import torch

from archc.compiler.weights.formats.blocks import BlockFormat
from archc.compiler.weights.formats.channels import ChannelFormat
from archc.compiler.weights.formats.format import Format
from archc.compiler.weights.formats.symmetric import SymmetricFormat
from archc.compiler.weights.group import Group
from archc.compiler.weights.lazy import JoinedRows, StackedWeight, WeightTensor
from archc.compiler.weights.steps import Transpose
from tests.compiler.weights.formats.written import matrix

FLOAT = ir.DataType.FLOAT
SLOTS = {"q": matrix(24, 96), "k": matrix(8, 96, seed=1), "v": matrix(8, 96, seed=2)}
FORMATS = pytest.mark.parametrize(
    "chosen",
    [
        pytest.param(BlockFormat(4, 32, two_level=True), id="blocks"),
        pytest.param(ChannelFormat(), id="channels"),
        pytest.param(SymmetricFormat("int4", 32), id="symmetric"),
        pytest.param(SymmetricFormat("fp8", transposed=False), id="symmetric-rows"),
    ],
)


def plain(slot: str) -> WeightTensor:
    return WeightTensor(slot, SLOTS[slot].shape, FLOAT)


class Written:
    """Tensors written by one group, with the slots that it opened."""

    def __init__(self, tensors: Iterable[WeightTensor]) -> None:
        self.opened: list[str] = []
        tensors = list(tensors)
        self.group = Group(tensors, self.open)
        self.bytes = {str(tensor.name): self._bytes(tensor) for tensor in tensors}

    def open(self, slot: str) -> torch.Tensor:
        self.opened.append(slot)
        return SLOTS[slot]

    def _bytes(self, tensor: WeightTensor) -> bytes:
        blocks = [block for part in tensor.in_parts() for block in self.group.blocks(part)]
        data = b"".join(block.reshape(-1).view(torch.uint8).numpy().tobytes() for block in blocks)
        assert len(data) == tensor.nbytes
        return data


def alone(tensor: WeightTensor) -> bytes:
    """A tensor's bytes, from a pass of its own."""
    return Written([tensor]).bytes[str(tensor.name)]


@FORMATS
def test_any_order_gives_the_same_bytes_and_reads_a_matrix_once(chosen: Format) -> None:
    tensors = list(chosen.tensors(plain("q")).values())
    expected = {str(tensor.name): alone(tensor) for tensor in tensors}
    for order in permutations(tensors):
        made = Written(order)
        assert made.bytes == expected
        assert made.opened == ["q"]
        assert made.group._kept == {}, "what was written is not kept"


@FORMATS
def test_tensors_that_are_not_written_are_not_kept(chosen: Format) -> None:
    first, *_ = chosen.tensors(plain("q")).values()
    made = Written([first])
    assert made.group._kept == {}


@FORMATS
def test_joined_rows_are_quantized_as_one_matrix(chosen: Format) -> None:
    made = Written(chosen.tensors(JoinedRows([plain("q"), plain("k"), plain("v")])).values())
    assert made.opened == ["q", "k", "v"]
    whole = torch.cat(list(SLOTS.values()))
    SLOTS["joined"] = whole
    try:
        expected = Written(chosen.tensors(plain("joined")).values())
    finally:
        del SLOTS["joined"]
    assert list(made.bytes.values()) == list(expected.bytes.values())


def test_joined_tensors_of_several_matrices() -> None:
    parts = [BlockFormat(4, 32, two_level=True).tensors(plain(slot)) for slot in SLOTS]
    roles = list(parts[0])
    made = Written([JoinedRows([part[role] for part in parts]) for role in roles])
    assert made.opened == ["q", "k", "v"]
    assert list(made.bytes.values()) == [b"".join(alone(part[role]) for part in parts) for role in roles]
    assert list(made.bytes) == [f"q+k+v.{'.'.join(str(parts[0][role].name).split('.')[1:])}" for role in roles]


@FORMATS
def test_a_stack_is_quantized_matrix_by_matrix(chosen: Format) -> None:
    made = Written(chosen.tensors(StackedWeight("experts", ["k", "v"], (2, 8, 96), FLOAT)).values())
    assert made.opened == ["k", "v"]
    single = [list(Written(chosen.tensors(plain(slot)).values()).bytes.values()) for slot in ("k", "v")]
    assert list(made.bytes.values()) == [first + second for first, second in zip(*single, strict=True)]


def test_plain_weights_pass_through_a_group() -> None:
    made = Written([plain("q"), plain("q").then(Transpose())])
    assert made.bytes["q"] == SLOTS["q"].numpy().tobytes()
    assert made.bytes["q.transpose"] == SLOTS["q"].t().contiguous().numpy().tobytes()


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(lambda: BlockFormat(8, 32).tensors(plain("q"))["integers"].then(Transpose()), id="quantized"),
        pytest.param(lambda: JoinedRows([plain("q"), plain("k")]).then(Transpose()), id="joined-then-transposed"),
        pytest.param(lambda: JoinedRows([plain("k").then(Transpose())] * 2), id="transposed-then-joined"),
        pytest.param(lambda: JoinedRows([plain("q"), WeightTensor("k", (8, 64), FLOAT)]), id="widths"),
        pytest.param(lambda: JoinedRows([plain("q"), WeightTensor("k", (8, 96), ir.DataType.FLOAT16)]), id="dtypes"),
    ],
)
def test_what_has_no_bytes_of_its_own(build: Callable[[], WeightTensor]) -> None:
    with pytest.raises(ValueError, match=r"must be applied before|not the rows of their slots|cannot be joined"):
        build()
