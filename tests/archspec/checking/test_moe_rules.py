"""Combinations of a mixture's keys that the rules reject."""

from __future__ import annotations

import pytest

from archc.archspec import (
    ArchspecError,
    load_spec,
)

GROUPS = "mlp.router.groups={count: %d, chosen: %d, by: %s}"

FAULTS = {
    "too many experts per token": (["mlp.per_token=9"], "mlp.per_token: 9 experts per token of 8 experts"),
    "renormalized softmax": (
        ["mlp.router.over=chosen"],
        "mlp.router.renormalize: a softmax over the chosen experts has the sum 1 already",
    ),
    "scale without a shared expert": (["mlp.shared_scale=0.5"], "mlp.shared_scale: there is no shared expert"),
    "groups after the selection": (
        ["mlp.router.over=chosen", "mlp.router.score=sigmoid", GROUPS % (2, 1, "max")],
        "mlp.router.groups: groups are selected by scores, which `over: chosen` computes after",
    ),
    "unequal groups": (
        [GROUPS % (3, 1, "max")],
        "mlp.router.groups.count: 8 experts are not a multiple of 3 groups",
    ),
    "more groups than all": ([GROUPS % (2, 3, "max")], "mlp.router.groups.chosen: 3 groups per token, but there are 2"),
    "few experts in the groups": (
        [GROUPS % (8, 1, "max")],
        "mlp.router.groups.chosen: 2 experts per token, but the chosen groups have 1",
    ),
    "top-2 of one expert": (
        [GROUPS % (8, 2, "top-2")],
        "mlp.router.groups.by: top-2 requires groups of at least two experts",
    ),
    "gate without a shared expert": (["mlp.shared_gate=true"], "mlp.shared_gate: there is no shared expert"),
    "beta of an expert": (
        ["mlp.expert.activation=relu", "mlp.expert.beta=1.7"],
        "mlp.expert.beta: beta requires the activation silu, got 'relu'",
    ),
    "beta of the shared expert": (
        ["mlp.shared={kind: gated, width: 8, activation: gelu, beta: 2.0}"],
        "mlp.shared.beta: beta requires the activation silu, got 'gelu'",
    ),
    "mixture as an expert": (["mlp.expert.kind=moe"], "mlp.expert.kind: expected one of plain, gated, got 'moe'"),
    "a selection bias next to a table": (
        ["mlp.router.selection=tokens", "mlp.router.selection_bias=true"],
        "mlp.router.selection_bias: a table selects the experts of a token; remove the key",
    ),
    "groups of sparsemixer": (
        ["mlp.router.score=sparsemixer", GROUPS % (2, 1, "max")],
        "mlp.router.groups: sparsemixer selects experts by their logits; remove the key",
    ),
    "band of a softmax": (
        ["mlp.router.jitter=0.1"],
        "mlp.router.jitter: only sparsemixer has a band; remove the key, or use `score: sparsemixer`",
    ),
    "identity experts in groups": (
        ["mlp.identity_experts=2", GROUPS % (2, 1, "max")],
        "mlp.identity_experts: identity experts are not supported with groups or weights on the input; remove the key",
    ),
    "sparsity of an expert": (["mlp.expert.sparsity=0.5"], "mlp.expert.sparsity: sparsity is not supported in experts"),
    "many experts": (["mlp.experts=5000"], "mlp.experts: 5000 must be at most 4,096"),
}


@pytest.mark.parametrize(("overrides", "message"), FAULTS.values(), ids=FAULTS)
def test_invalid_combinations(overrides: list[str], message: str) -> None:
    with pytest.raises(ArchspecError) as raised:
        load_spec("mixtral", overrides).bind(size="8x7b")
    assert message in str(raised.value)
    assert len(raised.value.problems) == 1


def test_two_overrides_of_one_section_merge() -> None:
    bound = load_spec("mixtral", ["mlp.expert.beta=1.5", "mlp.expert.limit=2.0"]).bind(size="8x7b")
    assert (bound.layers[0].mlp.expert.beta, bound.layers[0].mlp.expert.limit) == (1.5, 2.0)
