"""weights.bin: where tensors lie, in which order they are written, and what is said of their elements."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import onnx_ir as ir
import pytest
import torch

from archc.compiler.errors import BuildError
from archc.compiler.output.weights_file import Listener, assign_offsets, stream_weights, total_bytes
from archc.compiler.weights.formats.blocks import BlockFormat
from archc.compiler.weights.formats.channels import ChannelFormat
from archc.compiler.weights.lazy import RowSource, WeightTensor
from archc.compiler.weights.steps import Transpose
from tests.compiler.weights.formats.written import matrix

FLOAT, HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16


class Slots:
    """Slots in memory, with a record of those that were opened."""

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self.tensors, self.opened = tensors, list[str]()

    def names(self) -> list[str]:
        return list(self.tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.tensors[name].shape)

    def read(self, name: str) -> torch.Tensor:
        return self.tensors[name]

    def open(self, name: str) -> torch.Tensor:
        self.opened.append(name)
        return self.tensors[name]

    def find_groups(self, name: str) -> None:
        return None

    def open_stored(self, name: str) -> RowSource:
        raise AssertionError(f"{name} is not stored in groups")


class Sink(bytearray):
    def write(self, data: memoryview, /) -> int:
        self.extend(data)
        return len(data)


def graph(*tensors: WeightTensor) -> ir.Model:
    """A graph with these initializers."""
    values = [
        ir.Value(name=tensor.name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
        for tensor in tensors
    ]
    return ir.Model(ir.Graph([], [], nodes=[], initializers=values, name="test"), ir_version=11)


def plain(slot: str, *shape: int, dtype: ir.DataType = FLOAT) -> WeightTensor:
    return WeightTensor(slot, shape, dtype)


def write(made: ir.Model, slots: Slots, listener: Listener | None = None) -> tuple[dict[str, bytes], Sink]:
    """Every tensor's bytes as the manifest finds them, and the whole file."""
    stored, sink = assign_offsets(made), Sink()
    stream_weights(stored, slots, sink, listener or Listener())
    assert len(sink) == total_bytes(stored)
    tensors = [item.tensor for item in stored]
    return {t.name: bytes(sink[t.offset : t.offset + t.bytes]) for t in tensors}, sink


def test_large_tensors_start_at_a_page_and_small_ones_at_64_bytes() -> None:
    made = graph(plain("a", 3), plain("b", 1 << 14), plain("c", 5), plain("d", 7))
    offsets = [(item.tensor.name, item.tensor.offset, item.tensor.bytes) for item in assign_offsets(made)]
    assert offsets == [("a", 0, 12), ("b", 4096, 65536), ("c", 69632, 20), ("d", 69696, 28)]
    for name, offset, size in offsets:
        external = made.graph.initializers[name].const_value
        assert isinstance(external, ir.ExternalTensor)
        assert (external.location, external.offset, external.length) == ("weights.bin", offset, size)


def test_initializers_of_one_name_share_their_place() -> None:
    first, second = graph(plain("a", 3), plain("b", 3)), graph(plain("b", 3), plain("c", 3))
    assert [item.tensor.name for item in assign_offsets(first, second)] == ["a", "b", "c"]
    assert first.graph.initializers["b"].const_value is second.graph.initializers["b"].const_value


def test_tensors_of_one_slot_are_neighbors_and_read_once() -> None:
    slots = Slots({"a": matrix(8, 32), "b": matrix(4)})
    a = BlockFormat(4, 32).tensors(plain("a", 8, 32))
    bytes_of, _ = write(graph(a["integers"], plain("b", 4), a["scales"]), slots)
    assert list(bytes_of) == ["a.int4", "a.int4.scale", "b"]
    assert slots.opened == ["a", "b"]


def test_what_is_not_a_weight_stays_in_the_graph() -> None:
    made = graph(plain("a", 3))
    number = ir.Value(name="one", const_value=ir.tensor(matrix(1).numpy(), name="one"))
    made.graph.register_initializer(number)
    assert [item.tensor.name for item in assign_offsets(made)] == ["a"]
    assert not isinstance(number.const_value, ir.ExternalTensor)
    assert total_bytes([]) == 0


def test_bytes_are_the_slots_in_the_graph_s_dtype_with_zeros_between() -> None:
    slots = Slots({"a": matrix(3), "b": matrix(5, 4)})
    bytes_of, sink = write(graph(plain("a", 3), plain("b", 5, 4, dtype=HALF).then(Transpose())), slots)
    assert bytes_of["a"] == slots.tensors["a"].numpy().tobytes()
    assert bytes_of["b.transpose"] == slots.tensors["b"].t().contiguous().half().numpy().tobytes()
    assert bytes(sink[12:64]) == bytes(52)


def test_progress_goes_from_nothing_to_all_bytes() -> None:
    calls: list[tuple[str, int, int]] = []
    slots = Slots({"a": matrix(3), "b": matrix(5)})
    listener = Listener(progress=lambda name, done, total: calls.append((name, done, total)))
    write(graph(plain("a", 3), plain("b", 5)), slots, listener)
    assert calls == [("a", 0, 84), ("b", 12, 84), ("", 84, 84)]


def one_bad(number: float) -> Slots:
    table = matrix(8, 32)
    table[2, 3] = number
    return Slots({"a": table})


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")], ids=["nan", "inf", "minus-inf"])
def test_a_checkpoint_without_finite_numbers_is_a_warning(number: float) -> None:
    warnings: list[str] = []
    write(graph(plain("a", 8, 32, dtype=HALF)), one_bad(number), Listener(warn=warnings.append))
    assert warnings == ["a: the checkpoint has NaN or infinite values"]


def test_a_number_that_is_not_finite_is_refused_next_to_quantized_weights() -> None:
    quantized = ChannelFormat().tensors(plain("b", 8, 32)).values()
    slots = Slots({"a": one_bad(float("nan")).read("a"), "b": matrix(8, 32)})
    with pytest.raises(BuildError, match="a: the checkpoint has NaN or infinite values; build without --quantize"):
        write(graph(*quantized, plain("a", 8, 32)), slots)


def test_a_number_too_large_for_the_dtype_is_an_error() -> None:
    with pytest.raises(BuildError, match="a: the value 100000 overflows float16; build with --dtype float32"):
        write(graph(plain("a", 8, 32, dtype=HALF)), one_bad(1e5))
    write(graph(plain("a", 8, 32)), one_bad(1e5))


def test_scales_of_quantized_weights_are_checked_too() -> None:
    tensors = ChannelFormat().tensors(plain("a", 8, 32)).values()
    with pytest.raises(BuildError, match=r"a: the checkpoint has NaN or infinite values.*build without --quantize"):
        write(graph(*tensors), one_bad(float("inf")))
    with pytest.raises(BuildError, match=r"a: the value .* overflows float16"):
        write(graph(*BlockFormat(4, 32).tensors(plain("a", 8, 32, dtype=HALF)).values()), one_bad(1e8))


def test_a_sum_that_overflows_is_not_an_infinite_element() -> None:
    warnings: list[str] = []
    slots = Slots({"a": torch.full((8, 32), 3e38)})
    write(graph(plain("a", 8, 32)), slots, Listener(warn=warnings.append))
    assert warnings == []


def test_two_writes_give_the_same_bytes() -> None:
    slots = Slots({"a": matrix(8, 32)})
    tensors = BlockFormat(4, 32, two_level=True).tensors(plain("a", 8, 32)).values()
    first, second = (hashlib.sha256(write(graph(*tensors), slots)[1]).digest() for _ in range(2))
    assert first == second
