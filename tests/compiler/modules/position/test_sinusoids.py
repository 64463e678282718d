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
