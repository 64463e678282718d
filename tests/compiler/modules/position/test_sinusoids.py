"""Sinusoidal embeddings against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from archc.archspec import vocabulary as words
from archc.compiler.modules.position.sinusoids import Sinusoids


def test_sinusoids_are_of_position_over_wavelength() -> None:
    positions = torch.tensor([[0, 3]])
    pairs = [math.sin(3.0), math.cos(3.0), math.sin(0.3), math.cos(0.3)]
    interleaved = Sinusoids(words.Sinusoidal(theta=100.0), 4, torch.float32)(positions)[0]
    assert interleaved.tolist() == [[0, 1, 0, 1], pytest.approx(pairs)]
    halves = Sinusoids(words.Sinusoidal(theta=100.0, layout="halves"), 4, torch.float32)(positions)[0]
    assert halves[1].tolist() == pytest.approx([pairs[0], pairs[2], pairs[1], pairs[3]])
    assert Sinusoids(words.Sinusoidal(), 4, torch.float32)(positions)[0, 1, 2].item() == pytest.approx(math.sin(0.03))


def test_a_closed_series_ends_at_one_over_theta() -> None:
    positions = torch.tensor([[0, 3]])
    word = words.Sinusoidal(theta=100.0, layout="halves", spacing="closed")
    sines = Sinusoids(word, 6, torch.float32)(positions)[0, 1, :3]
    assert sines.tolist() == pytest.approx([math.sin(3.0), math.sin(0.3), math.sin(0.03)])


def test_positions_begin_at_the_first() -> None:
    word = words.Sinusoidal(theta=100.0, first=2)
    pairs = Sinusoids(word, 4, torch.float32)(torch.tensor([[0, 1]]))[0]
    assert pairs[:, 0].tolist() == pytest.approx([math.sin(2.0), math.sin(3.0)])
