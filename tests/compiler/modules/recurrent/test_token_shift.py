"""Token shift and channel mixing against numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from archc.archspec import vocabulary as words
from archc.compiler.modules.layer_inputs import Signals
from archc.compiler.modules.mlp.channel_mixing import ChannelMixing
from archc.compiler.modules.recurrent.token_shift import make_shift


def column(*values: float) -> Tensor:
    return torch.tensor([[[float(value)] for value in values]])


def filled(module: torch.nn.Module, values: dict[str, list]) -> torch.nn.Module:
    module.load_state_dict({name: torch.tensor(value) for name, value in values.items()})
    return module


@pytest.mark.parametrize(("weighs", "wanted"), [("current", [0.5, 3.25]), ("previous", [1.5, 5.75])])
def test_a_static_shift_weighs_what_it_says(weighs: str, wanted: list[float]) -> None:
    shift = filled(make_shift(words.StaticShift(weighs=weighs), ("k",), 1, torch.float32), {"k": [0.25]})
    assert shift(column(2, 7), None)["k"].flatten().tolist() == pytest.approx(wanted)
    assert shift(column(7), column(2))["k"].flatten().tolist() == pytest.approx(wanted[1:])


def test_a_dynamic_shift_adds_its_path() -> None:
    shift = make_shift(words.DynamicShift(rank=1), ("k", "v"), 1, torch.float32)
    values = {"k": [0.5], "v": [0.0], "first": [1.0], "down.weight": [[1.0], [0.5]]}
    filled(shift, {**values, "up.k.weight": [[0.0]], "up.v.weight": [[2.0]]})
    # The path sees the previous vector: 0, then 2; half of it, through tanh, is a factor on the step.
    both = shift(column(2, 6), None)
    assert both["k"].flatten().tolist() == pytest.approx([1, 4])
    assert both["v"].flatten().tolist() == pytest.approx([2, 6 - 4 * 2 * float(torch.tanh(torch.tensor(1.0)))])


def test_channel_mixing_and_its_tail() -> None:
    word = words.ChannelMixing(width=1, activation="relu2")
    values = {"up.weight": [[1.0]], "down.weight": [[3.0]], "receptance.weight": [[0.0]], "shift.k": [0.5]}
    mixing = filled(ChannelMixing(word, 1, torch.float32), {**values, "shift.r": [1.0]})
    # k: 2/2, then (2 + 4)/2; squared, times 3, times sigmoid(0).
    y, nothing = mixing(column(2, 4), Signals(), {})
    assert y.flatten().tolist() == pytest.approx([1.5, 13.5])
    assert nothing == {}
    state = {"mlp.shift": column(2)}
    y, state = mixing(column(4, 9), Signals(lengths_B=torch.tensor([1])), state)
    assert y.flatten().tolist()[0] == pytest.approx(13.5)
    assert state["mlp.shift"].item() == 4  # the second token is padding
