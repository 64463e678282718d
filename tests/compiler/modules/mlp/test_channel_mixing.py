"""Channel mixing against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from archc.archspec import vocabulary as words
from archc.compiler.modules.layer_inputs import LayerInputs
from archc.compiler.modules.mlp.channel_mixing import ChannelMixing
from tests.compiler.modules.values import column, filled


def test_channel_mixing_and_its_tail() -> None:
    word = words.ChannelMixing(width=1, activation="relu2")
    values = {"up.weight": [[1.0]], "down.weight": [[3.0]], "receptance.weight": [[0.0]], "shift.k": [0.5]}
    mixing = filled(ChannelMixing(word, 1, torch.float32), {**values, "shift.r": [1.0]})
    # k: 2/2, then (2 + 4)/2; squared, times 3, times sigmoid(0).
    y, state = mixing(column(2, 4), LayerInputs(), {})
    assert y.flatten().tolist() == pytest.approx([1.5, 13.5])
    assert state == {}
    state = {"mlp.shift": column(2)}
    y, state = mixing(column(4, 9), LayerInputs(lengths_B=torch.tensor([1])), state)
    assert y.flatten().tolist()[0] == pytest.approx(13.5)
    assert state["mlp.shift"].item() == 4  # the second token is padding


def test_channel_mixing_with_a_learned_activation() -> None:
    word = words.ChannelMixing(width=1, activation="xielu", receptance=False)
    values = {"up.weight": [[1.0]], "down.weight": [[3.0]], "shift.k": [1.0]}
    values |= {"activation.alpha_p": [math.log(2)], "activation.alpha_n": [0.0]}
    y, _ = filled(ChannelMixing(word, 1, torch.float32), values)(column(2, -1), LayerInputs(), {})
    # As in test_activations: 4 ln 3 + 1 of 2, and (1/2 + ln 2) / e − 1/2 of −1.
    expected = [3 * (4 * math.log(3) + 1), 3 * ((0.5 + math.log(2)) / math.e - 0.5)]
    assert y.flatten().tolist() == pytest.approx(expected)
