"""Recurrences: numbers worked out by hand, and the translations to ONNX against the walk from token to token."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

from archc.compiler.contract.dtypes import torch_name
from archc.compiler.contract.types import TensorType
from archc.compiler.graph.subgraph import copy_attribute
from archc.compiler.ops import recurrences
from archc.compiler.ops.recurrences.chunks import CHUNK
from archc.compiler.ops.recurrences.decayed_average import LOG_ZERO
from archc.compiler.ops.recurrences.matrix_state import MATRIX_CHUNK
from archc.compiler.tracing.parts import Part, record
from tests.compiler.graphs import run

CLOSE = 2e-5
HEADS, WIDTH, BATCH = 2, 4, 2
CHANNELS = HEADS * WIDTH
Tensors = dict[str, Tensor]


def column(*values: float) -> Tensor:
    """One row, one channel."""
    return torch.tensor([[[float(value)] for value in values]])


def test_the_decayed_average_by_hand() -> None:
    # Weights e^0 = 1 for both tokens; a bonus of ln 3 on the newest; the decay halves.
    zeros, half = column(0, 0), column(math.log(0.5), math.log(0.5))
    y, state = recurrences.decayed_average(zeros, zeros + math.log(3), half, column(2, 6), torch.zeros(1, 3, 1))
    assert y.flatten().tolist() == pytest.approx([2.0, (1 * 2 + 3 * 6) / (1 + 3)])
    # Then the first weighs one half and the second one.
    assert (state[0, 0] / state[0, 1]).item() == pytest.approx((0.5 * 2 + 6) / 1.5)


def test_the_decayed_average_with_exponents_beyond_float32() -> None:
    keys = column(-500, 300, -700)
    y, _ = recurrences.decayed_average(keys, keys, column(-1, -1, -1), column(1, 2, 3), torch.zeros(1, 3, 1))
    assert y.flatten().tolist() == pytest.approx([1, 2, 2])


def test_linear_attention_by_hand() -> None:
    halves = torch.full((1, 3, 1), math.log(0.5))
    y, state = recurrences.linear_attention(
        column(1, 1, 1), column(1, 2, 3), halves, column(4, 5, 6), torch.zeros(1, 1, 1, 1)
    )
    # S: 4, then 4/2 + 10 = 12, then 12/2 + 18 = 24; each output reads what was there before.
    assert y.flatten().tolist() == pytest.approx([0, 4, 12])
    assert state.item() == pytest.approx(24)


def test_the_delta_rule_by_hand() -> None:
    # One key of length one at a rate of 1 and no decay: what was there goes, and the new value stands.
    one, none = column(1, 1), torch.zeros(1, 2, 1)
    y, state = recurrences.delta_rule(one, one, none, -one, one, column(7, 9), torch.zeros(1, 1, 1, 1))
    assert y.flatten().tolist() == [7, 9]
    # At a rate of one half and a decay to one half, 8 becomes 8/2 − 8/2 + 3.
    half = column(0.5)
    y, _ = recurrences.delta_rule(
        column(1), column(1), half.log(), -column(1), half, column(3), torch.full((1, 1, 1, 1), 8.0)
    )
    assert y.item() == pytest.approx(3)
    assert state.item() == 9


def test_the_selective_scan_by_hand() -> None:
    steps, a = column(1, 2), torch.tensor([[math.log(0.5)]])
    y, state = recurrences.selective_scan(column(3, 5), steps, column(1, 1), column(10, 1), a, torch.zeros(1, 1, 1))
    # h: 1 · 3, then 3 · 0.5² + 2 · 5.
    assert y.flatten().tolist() == pytest.approx([30, 10.75])
    assert state.item() == pytest.approx(10.75)


def test_a_matrix_state_by_hand() -> None:
    halves = torch.full((1, 3, 1), math.log(0.5))
    ones = column(1, 1, 1)
    y, state = recurrences.matrix_state(ones, column(1, 2, 3), halves, column(4, 5, 6), None, torch.zeros(1, 1, 1, 1))
    # S: 4, then 4/2 + 10 = 12, then 12/2 + 18 = 24; each output reads what its own token added.
    assert y.flatten().tolist() == pytest.approx([4, 12, 24])
    # With a rate of one half and keys of one: 8 halves to 4, and half of the difference to 6 is added.
    y, state = recurrences.matrix_state(
        column(1), column(1), halves[:, :1], column(6), column(0.5), torch.full((1, 1, 1, 1), 8.0)
    )
    assert y.item() == pytest.approx(5)
    assert state.item() == pytest.approx(5)


def sequences(names: str, seq: int, width: int = CHANNELS) -> Tensors:
    generator = torch.Generator().manual_seed(seq)
    return {name: torch.randn(BATCH, seq, width, generator=generator) for name in names}


def decays(like: Tensor, strength: float) -> Tensor:
    """Logarithms of decays of every strength up to an absolute one: 0, −1e-3 … −strength."""
    return -torch.logspace(-3, math.log10(strength), like.numel()).reshape(like.shape).roll(1, dims=1)


def linear(seq: int, strength: float) -> Tensors:
    made = sequences("rkwv", seq)
    made["w"] = decays(made["w"], strength)
    return {**made, "state": torch.randn(BATCH, HEADS, WIDTH, WIDTH, generator=torch.Generator().manual_seed(1))}


def delta(seq: int, strength: float) -> Tensors:
    made = sequences("rkwabv", seq)
    made["w"] = decays(made["w"], strength)
    # The same direction all the time, at a rate of one: the worst for what is solved inside a chunk.
    direction = torch.ones(BATCH, seq, CHANNELS) / math.sqrt(WIDTH)
    made |= {"a": -direction, "b": direction}
    return {**made, "state": torch.randn(BATCH, HEADS, WIDTH, WIDTH, generator=torch.Generator().manual_seed(1))}


def average(seq: int, strength: float) -> Tensors:
    made = sequences("knwv", seq)
    made["k"], made["n"] = 30 * made["k"], 30 * made["n"]
    made["w"] = decays(made["w"], strength)
    made["k"][:, -1] = LOG_ZERO  # padding
    made["w"][:, -1] = 0
    return {**made, "state": torch.zeros(BATCH, 3, CHANNELS)}


def scanned(seq: int, strength: float) -> Tensors:
    made = sequences("xs", seq) | sequences("bc", seq, 3)
    made["s"] = made["s"].abs()
    a = -torch.logspace(-3, math.log10(strength), 3 * CHANNELS).reshape(3, CHANNELS)
    return {**made, "a": a, "state": torch.ones(BATCH, 3, CHANNELS)}


def matrix(
    seq: int, strength: float, shared: bool = False, by_channel: bool = False, delta_rule: bool = False
) -> Tensors:
    """Keys for one or for two heads; by the delta rule all in one direction, the worst for the solved matrix."""
    keys = WIDTH if shared else CHANNELS
    made = sequences("qk", seq, keys)
    made["w"] = decays(torch.zeros(BATCH, seq, CHANNELS if by_channel else HEADS), strength)
    made |= {"v": torch.randn(BATCH, seq, HEADS * 3, generator=torch.Generator().manual_seed(seq))}
    if delta_rule:
        made["k"] = torch.ones(BATCH, seq, keys) / math.sqrt(WIDTH)
        made["b"] = torch.linspace(0.5, 1, BATCH * seq * HEADS).reshape(BATCH, seq, HEADS)
    return {**made, "state": torch.randn(BATCH, HEADS, WIDTH, 3, generator=torch.Generator().manual_seed(1))}


def without_rate(q: Tensor, k: Tensor, w: Tensor, v: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    return recurrences.matrix_state(q, k, w, v, None, state)


OPERATORS: Mapping[str, tuple[Callable[..., tuple[Tensor, Tensor]], Callable[[int, float], Tensors]]] = {
    "linear_attention": (recurrences.linear_attention, linear),
    "delta_rule": (recurrences.delta_rule, delta),
    "decayed_average": (recurrences.decayed_average, average),
    "selective_scan": (recurrences.selective_scan, scanned),
    "matrix_state by head": (without_rate, matrix),
    "matrix_state by head, shared keys": (without_rate, partial(matrix, shared=True)),
    "matrix_state by channel": (without_rate, partial(matrix, by_channel=True)),
    "delta rule by head, shared keys": (recurrences.matrix_state, partial(matrix, shared=True, delta_rule=True)),
    "delta rule by head": (recurrences.matrix_state, partial(matrix, delta_rule=True)),
    "delta rule by channel": (recurrences.matrix_state, partial(matrix, by_channel=True, delta_rule=True)),
}


def translated(operator: Callable[..., tuple[Tensor, Tensor]], example: Tensors) -> ir.Model:
    """The operator alone in a graph whose batch and length vary, its body copied as an assembled graph has it."""

    def axes(name: str, tensor: Tensor) -> TensorType:
        shape: list[int | str] = list(tensor.shape)
        if name != "a" or tensor.ndim == 3:
            shape[0] = "batch"
        if name != "state" and tensor.ndim == 3:
            shape[1] = "seq"
        return TensorType(torch_name(tensor.dtype), tuple(shape))

    inputs = {name: axes(name, tensor) for name, tensor in example.items()}
    model, _ = record(Part(nn.Module(), lambda tensors: list(operator(*tensors.values())), inputs))
    for node in model.graph:
        for attribute in list(node.attributes.values()):
            node.attributes[attribute.name] = copy_attribute(attribute, f"{node.name}.")
    return model


@pytest.mark.parametrize("name", OPERATORS)
def test_translations_give_the_same_numbers(name: str) -> None:
    operator, make = OPERATORS[name]
    model = translated(operator, make(3, 1.0))
    for seq in (1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5, 2 * MATRIX_CHUNK + 3):
        for strength in (1.0, 1e4):
            given = make(seq, strength)
            wanted = operator(*given.values())
            got = run(model, {key: value.numpy() for key, value in given.items()})
            for mine, theirs in zip(got, wanted, strict=True):
                gap = np.abs(mine - theirs.numpy()) / (1 + np.abs(theirs.numpy()))
                assert gap.max() < CLOSE, (seq, strength)
