"""Random weights: the same for a seed, and norms and biases without effect."""

from __future__ import annotations

import pytest
import torch

from archc.compiler.weights.checkpoint.random_weights import RandomWeights

SLOTS = {"a.weight": (40, 50), "b.weight": (40, 50), "a.bias": (40,), "norm.weight": (50,), "centered.weight": (50,)}


def test_a_slot_depends_on_the_seed_and_its_name_alone() -> None:
    weights = RandomWeights(SLOTS, 1)
    again = RandomWeights(dict(reversed(SLOTS.items())), 1)
    assert torch.equal(weights.read("a.weight"), again.open("a.weight"))
    assert not torch.equal(weights.read("a.weight"), weights.read("b.weight"))
    assert not torch.equal(weights.read("a.weight"), RandomWeights(SLOTS, 2).read("a.weight"))
    assert float(weights.read("a.weight").std()) == pytest.approx(0.02, rel=0.1)


def test_norms_and_biases_have_no_effect() -> None:
    weights = RandomWeights(SLOTS, 1, unit_offset=["centered.weight"])
    assert not weights.read("a.bias").any()
    assert (weights.read("norm.weight") == 1).all()
    assert not weights.read("centered.weight").any()
    assert {name: weights.shape(name) for name in weights.names()} == SLOTS
