"""Combinations in MLPs and experts that the rules reject."""

from __future__ import annotations

import pytest

from tests.archspec.checking.invalid import assert_invalid
from tests.archspec.samples import Load

FAULTS = {
    "two clamps": (
        "mlp: {limit: 2.0, activation_limit: 3.0}\n",
        "mlp.activation_limit: limit and activation_limit both set; remove one of them",
    ),
    "a capacity of several experts": (
        "mlp: {kind: moe, experts: 4, per_token: 2, capacity: 3, expert: {kind: plain, width: 8, activation: relu}}\n",
        "mlp.capacity: a capacity is not supported with 2 experts per token",
    ),
    "shortcut without a reader": (
        "shortcut: {kind: moe, experts: 2, per_token: 1, expert: {kind: plain, width: 8, activation: relu}}\n",
        "shortcut: layer 1 does not agree with the layer before; set `layer.adds_shortcut` in the layer after each",
    ),
    "parallel residual of one branch": (
        "mlp: none\nlayer: {residual: parallel, norm: {branches: mixer}}\n",
        "mlp: a parallel residual requires two branches",
    ),
    "experts in a branch without a shared expert": (
        "mlp: {kind: moe, experts: 2, per_token: 1, expert: {kind: plain, width: 4, activation: relu}, "
        "branch: {norm: none}}\n",
        "mlp.branch: there is no shared expert next to the branch",
    ),
    "uneven groups of an MLP": (
        "mlp: {kind: plain, width: 8, activation: relu, groups: {down: 16}}\n",
        "mlp.groups.down: 64 and 8 channels in 16 groups; use a divisor of both",
    ),
    "groups in experts": (
        "mlp: {kind: moe, experts: 2, per_token: 1, expert: {kind: plain, width: 4, activation: relu, "
        "groups: {up: 2}}}\n",
        "mlp.expert.groups: grouped projections are not supported in experts",
    ),
}


@pytest.mark.parametrize(("text", "message"), FAULTS.values(), ids=FAULTS)
def test_invalid_combinations(load: Load, text: str, message: str) -> None:
    assert_invalid(load, text, message)
