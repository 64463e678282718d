"""Combinations in recurrences that the rules reject."""

from __future__ import annotations

import pytest

from tests.archspec.checking.invalid import assert_invalid
from tests.archspec.samples import Load

AVERAGE = "{kind: decayed-average, width: 8}"
DELTA = (
    "kind: delta-rule, heads: 4, head_dim: 16, shift: {kind: static}, decay_rank: 2, rate_rank: 2, gate_rank: 2, "
    "norm: {eps: 1e-5}"
)
READS_VALUES = f"attention: none\nposition: none\nrecurrence: {{{DELTA}, value_residual: {{kind: take, rank: 2}}}}\n"
STATE = "attention: none\nposition: none\nrecurrence: {kind: matrix-state, key_dim: 3, value_dim: 2, "

FRONT = "recurrence: {kind: short-convolution, width: 8, convolution: {kernel: 3}}\n"

FAULTS = {
    "uneven heads of a selective scan": (
        "attention: none\nposition: none\n"
        "recurrence: {kind: selective-scan, width: 8, heads: 3, state: 2, step_rank: 2, kernel: 2, activation: silu}\n",
        "recurrence.heads: 8 channels are not a multiple of 3 heads; use a divisor of `width`",
    ),
    "a front block without a recurrence": (
        "layer: {front: {}}\n",
        "layer.front: a front block is attention in front of a recurrence; add both sections, or remove the key",
    ),
    "a front block without an MLP": (
        "layer: {front: {}, norm: {branches: mixer}}\nmlp: none\n" + FRONT,
        "layer.front: a front block has a dense MLP; add `mlp:` of kind gated, plain or linear",
    ),
    "norms on the outputs of a front block": (
        "layer: {front: {}, norm: {placement: sandwich}}\n" + FRONT,
        "layer.front: the norms of a front block are on the inputs",
    ),
    "parallel mixers with a front block": (
        "layer: {front: {}, mixers: parallel}\n" + FRONT,
        "layer.mixers: the key is not supported with a front block; remove it",
    ),
    "a gate in a front block": (
        FRONT + "layer: {front: {}}\nattention: {gate: {}}\n",
        "attention.gate: the key is not supported in a front block; remove it",
    ),
    "a shared front block with other sections": (
        "layer: {front: {weights: 0}}\nmlp: {width: 8 + layer}\n" + FRONT,
        "layer.front.weights: layers 0 and 1 share a front block but differ in its sections",
    ),
    "an expert with an adapter": (
        "mlp: {kind: moe, experts: 2, per_token: 1, "
        "expert: {kind: gated, width: 8, activation: silu, adapter: {rank: 2}}}\n",
        "mlp.expert.adapter: adapter is not supported in experts; remove the key",
    ),
    "an adapter of queries from a latent": (
        "attention: {adapter: {rank: 2}, query_latent: {width: 8, norm: none}}\n",
        "attention.query_latent: an adapter is on projections of the layer's input; remove one of them",
    ),
    "uneven key heads": (
        f"{STATE}heads: 4, key_heads: 3, decay: step}}\n",
        "recurrence.key_heads: 4 heads are not a multiple of 3 key_heads",
    ),
    "a rate without the delta rule": (
        f"{STATE}heads: 4, rate_scale: 2.0, decay: step}}\n",
        "recurrence.rate_scale: only the delta rule has a rate",
    ),
    "step limits that exclude each other": (
        f"{STATE}heads: 4, decay: {{kind: step, least: 2.0, most: 1.0}}}}\n",
        "recurrence.decay.most: expected more than least (2), got 1",
    ),
    "steps by channel on values": (
        f"{STATE}heads: 4, decay: {{kind: step, over: channels, scales_values: true}}}}\n",
        "recurrence.decay.scales_values: values have one step size by head",
    ),
    "uneven groups of a norm": (
        f"{STATE}heads: 4, decay: step, norm: {{kind: rmsnorm, eps: 1e-6, groups: 5}}}}\n",
        "recurrence.norm.groups: 8 channels are not a multiple of 5 groups",
    ),
    "a shared weight for one group": (
        f"{STATE}heads: 4, decay: step, norm: {{kind: rmsnorm, eps: 1e-6, weights: shared}}}}\n",
        "recurrence.norm.weights: one group has one weight vector",
    ),
    "a shared weight of a norm without one": (
        f"{STATE}heads: 4, decay: step, "
        "norm: {kind: rmsnorm, eps: 1e-6, groups: 2, weights: shared, affine: false}}\n",
        "recurrence.norm.weights: the norm has no weight",
    ),
    "a gate before no norm": (
        f"{STATE}heads: 4, decay: step, gate: {{order: before}}}}\n",
        "recurrence.gate.order: there is no norm, and the order is 'before'",
    ),
    "blocks of a linear recurrent unit": (
        "attention: none\nposition: none\n"
        "recurrence: {kind: rg-lru, width: 8, blocks: 3, convolution: {kernel: 4}, activation: gelu}\n",
        "recurrence.blocks: 8 channels are not a multiple of 3 blocks; use a divisor of `width`",
    ),
    "two mixers": (f"recurrence: {AVERAGE}\n", "recurrence: the layer has both attention and a recurrence"),
    "recurrence in an encoder": (
        f"topology: encoder\nattention: none\nposition: none\nrecurrence: {AVERAGE}\n",
        "recurrence: a recurrence is causal and is not supported in an encoder",
    ),
    "values without a source": (
        READS_VALUES,
        "recurrence.value_residual: layer 0 reads values of 64 channels, but no earlier layer is a source",
    ),
    "values that no layer reads": (
        f"attention: none\nposition: none\nrecurrence: {{{DELTA}, value_residual: give}}\n",
        "recurrence.value_residual: no later layer reads the values",
    ),
    "values of another width": (
        READS_VALUES + "variants:\n  - {when: layer == 0, recurrence: {heads: 2, value_residual: {kind: give}}}\n",
        "recurrence.value_residual: layer 1 reads values of 64 channels, but the source has 32",
    ),
}


@pytest.mark.parametrize(("text", "message"), FAULTS.values(), ids=FAULTS)
def test_invalid_combinations(load: Load, text: str, message: str) -> None:
    assert_invalid(load, text, message)
