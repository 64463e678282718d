"""Routers against numbers worked out by hand, and a mixture against its own formula."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from archc.archspec import vocabulary as words
from archc.compiler.modules.mlp.experts import Router, within_capacity
from archc.compiler.modules.mlp.mlp import GatedMlp, MoeMlp
from archc.compiler.weights.slots import slot_shapes
from tests.compiler.modules.values import filled

EXPERT = words.GatedMlp(width=3, activation="silu")


def route(logits: list[float], per_token: int, bias: list[float] | None = None, **options: Any) -> dict[int, float]:
    """The experts of one token and their weights, given the router's logits."""
    word = words.MoeMlp(experts=len(logits), per_token=per_token, router=words.Router(**options), expert=EXPERT)
    router = Router(word, 1)
    with torch.no_grad():
        router.projection.weight.copy_(torch.tensor(logits)[:, None])
        if bias is not None:
            router.selection_bias.copy_(torch.tensor(bias))
        chosen, weights = router(torch.ones(1, 1, 1))
    return dict(zip(chosen.flatten().tolist(), weights.flatten().tolist(), strict=True))


def logs(*numbers: float) -> list[float]:
    return [math.log(number) for number in numbers]


def odds(*numbers: float) -> list[float]:
    """Logits whose sigmoids are these."""
    return [math.log(number / (1 - number)) for number in numbers]


def test_sparsemixer_has_a_softmax_over_each_band() -> None:
    # Bands of the best logit 2 with a jitter of 0.2: 2 − x up to 0.8, so 1.5. Without it, 1.5 − x up to 0.6: 1.0.
    weights = route([0.5, 2.0, 1.0, 1.5], 2, score="sparsemixer", jitter=0.2)
    assert weights == pytest.approx({1: 1 / (1 + math.exp(-0.5)), 3: 1 / (1 + math.exp(-0.5))})


def test_a_band_of_negative_logits_depends_on_their_size() -> None:
    # 4 · 0.25 = 1 for the logit −4: (−3.5 + 4) ≤ 2 · 0.125 · 4, and (−3.5 + 5) > 2 · 0.125 · 5.
    weights = route([-4.0, -3.5, -5.0], 1, score="sparsemixer", jitter=0.125)
    assert weights == pytest.approx({1: 1 / (1 + math.exp(-0.5))})


def test_an_identity_expert_returns_its_input() -> None:
    # Logits 1 and 3 of the expert and the identity: the expert's output is relu(2 · x) · 5.
    expert = words.PlainMlp(width=1, activation="relu")
    word = words.MoeMlp(experts=1, identity_experts=1, per_token=2, expert=expert)
    values: dict[str, Any] = {"router.projection.weight": [[1.0], [3.0]]}
    values |= {"experts.up.weight": [[[2.0]]], "experts.down.weight": [[[5.0]]]}
    mixture = filled(MoeMlp(word, 1, torch.float32), values)
    x, share = torch.ones(1, 1, 1), 1 / (1 + math.exp(-2))
    assert mixture(x, x).item() == pytest.approx(10 * (1 - share) + share)


def test_a_table_selects_the_experts_of_a_token() -> None:
    # The table has experts 3 and 0 of token 2; sqrtsoftplus of the logits ln 8 and ln 3 is √ln 9 and √ln 4.
    options = words.Router(selection="tokens", score="sqrtsoftplus", renormalize=True, scale=1.5)
    word = words.MoeMlp(experts=4, per_token=2, router=options, expert=EXPERT)
    table = [[0, 1], [1, 2], [3, 0]]
    values: dict[str, Any] = {"projection.weight": [[number] for number in logs(3, 100, 50, 8)]}
    router = filled(Router(word, 1, vocab=3), values | {"by_token.weight": table})
    chosen, weights = router(torch.ones(1, 1, 1), torch.tensor([[2]]))
    first, second = math.sqrt(math.log(9)), math.sqrt(math.log(4))
    assert chosen.tolist() == [[[3, 0]]]
    assert weights[0, 0].tolist() == pytest.approx([1.5 * first / (first + second), 1.5 * second / (first + second)])


def test_sqrt_softplus_scores_select_with_a_bias() -> None:
    # √ln(1 + x): √ln 2, √ln 3 and √ln 5; the bias of 1 puts the first one ahead of the second.
    weights = route(logs(1, 2, 4), 2, bias=[1.0, 0.0, 0.0], score="sqrtsoftplus", selection_bias=True)
    assert weights == pytest.approx({0: math.sqrt(math.log(2)), 2: math.sqrt(math.log(5))})


SOFTMAX = logs(1, 4, 2, 3)  # 0.1, 0.4, 0.2, 0.3


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, {1: 0.4, 3: 0.3}),
        ({"renormalize": True}, {1: 4 / 7, 3: 3 / 7}),
        ({"scale": 2.5}, {1: 1.0, 3: 0.75}),
        ({"renormalize": True, "scale": 7.0}, {1: 4.0, 3: 3.0}),
        ({"over": "chosen"}, {1: 4 / 7, 3: 3 / 7}),
    ],
    ids=str,
)
def test_softmax(options: dict[str, Any], wanted: dict[int, float]) -> None:
    assert route(SOFTMAX, 2, **options) == pytest.approx(wanted)


def test_sigmoid() -> None:
    scores = odds(0.2, 0.9, 0.5, 0.6)
    assert route(scores, 2, score="sigmoid") == pytest.approx({1: 0.9, 3: 0.6})
    assert route(scores, 2, score="sigmoid", renormalize=True) == pytest.approx({1: 0.6, 3: 0.4})
    assert route(scores, 1, score="sigmoid", over="chosen") == pytest.approx({1: 0.9})


def test_a_selection_bias_chooses_and_does_not_weigh() -> None:
    scores = odds(0.2, 0.9, 0.5, 0.6)
    biased = route(scores, 2, [0.75, 0.0, 0.0, 0.0], score="sigmoid", selection_bias=True)
    assert biased == pytest.approx({0: 0.2, 1: 0.9})


def test_a_selection_bias_on_logits() -> None:
    logits, bias = odds(0.2, 0.9, 0.5, 0.6), [2.0, 0.0, 0.0, 0.0]  # 0.6, 2.2, 0, 0.4
    biased = route(logits, 2, bias, score="sigmoid", over="chosen", selection_bias=True)
    assert biased == pytest.approx({0: 0.2, 1: 0.9})


def test_groups_by_their_best() -> None:
    # 0.1, 0.4 | 0.2, 0.3: the first group has the best expert.
    groups = words.ExpertGroups(count=2, chosen=1, by="max")
    assert route(SOFTMAX, 2, groups=groups) == pytest.approx({0: 0.1, 1: 0.4})


def test_groups_by_their_best_two() -> None:
    # 0.9 + 0.1 < 0.6 + 0.5, and 0.05 is left out of either.
    scores = odds(0.9, 0.1, 0.05, 0.6, 0.5, 0.05)
    groups = words.ExpertGroups(count=2, chosen=1, by="top-2")
    assert route(scores, 2, score="sigmoid", groups=groups) == pytest.approx({3: 0.6, 4: 0.5})
    # The bias counts in the groups' scores too: 0.9 + 0.1 + 0.5 > 0.6 + 0.5.
    bias = [0.0, 0.5, 0.0, 0.0, 0.0, 0.0]
    biased = route(scores, 2, bias, score="sigmoid", selection_bias=True, groups=groups)
    assert biased == pytest.approx({0: 0.9, 1: 0.1})


def test_negative_scores_of_chosen_groups_win_over_those_left_out() -> None:
    scores, bias = odds(0.9, 0.8, 0.2, 0.1), [0.0, 0.0, -5.0, -5.0]
    groups = words.ExpertGroups(count=2, chosen=1, by="max")
    negative = [value - 10 for value in bias]
    assert set(route(scores, 2, negative, score="sigmoid", selection_bias=True, groups=groups)) == {0, 1}


def test_experts_of_other_groups_lead_negative_scores_where_they_have_a_score_of_zero() -> None:
    scores, bias = odds(0.9, 0.2, 0.3, 0.1), [0.0, -1.0, 0.0, 0.0]
    for others, second in (("excluded", {1}), ("zero", {2, 3})):
        groups = words.ExpertGroups(count=2, chosen=1, by="max", others=others)
        chosen = set(route(scores, 2, bias, score="sigmoid", selection_bias=True, groups=groups))
        assert chosen - {0} <= second
        assert len(chosen) == 2


def test_a_norm_and_a_scale_on_the_routers_input_and_a_scale_for_each_expert() -> None:
    norm = words.RmsNorm(eps=1e-9)
    router = words.Router(norm=norm, logit_scale=0.5, renormalize=True, expert_scale=True)
    word = words.MoeMlp(experts=3, per_token=2, router=router, expert=EXPERT)
    values = {
        "norm.weight": [1.0, 2.0],
        "projection.weight": [[0.0, 0.0], [2 * math.log(2), 0.0], [0.0, math.log(3)]],
        "expert_scale": [1.0, 10.0, 100.0],
    }
    # (5, 5) is (1, 2) after the norm: the logits are 0, log 2 and log 3.
    chosen, weights = filled(Router(word, 2), values)(torch.full((1, 1, 2), 5.0))
    result = dict(zip(chosen.flatten().tolist(), weights.flatten().tolist(), strict=True))
    assert result == pytest.approx({2: 60.0, 1: 4.0})


def test_experts_of_a_branch_read_the_stream() -> None:
    one = words.GatedMlp(width=1, activation="relu")
    word = words.MoeMlp(
        experts=1, per_token=1, expert=one, shared=one, branch=words.ExpertBranch(norm=words.RmsNorm(eps=1e-9))
    )
    module = MoeMlp(word, 2, torch.float32)
    # Channel 0 times channel 0 or 1: 3 · 1 of the normed stream, whose weight is (3, 1), and 2 · 2 of x.
    matrices = {"gate": [[1.0, 0.0]], "up": [[1.0, 0.0]]}
    for name, weight in matrices.items():
        getattr(module.experts, name).weight.data = torch.tensor([weight])
        getattr(module.shared, name).weight.data = torch.tensor(weight)
    module.experts.up.weight.data = torch.tensor([[[0.0, 1.0]]])  # x has nothing in channel 1
    module.experts.down.weight.data = torch.tensor([[[1.0], [1.0]]])
    module.shared.down.weight.data = torch.tensor([[1.0], [7.0]])
    module.router.projection.weight.data = torch.zeros(1, 2)
    module.norm.weight.data = torch.tensor([3.0, 1.0])
    module.output_norm.weight.data, module.shared_norm.weight.data = (
        torch.tensor([10.0, 20.0]),
        torch.tensor([1.0, 2.0]),
    )
    y = module(torch.tensor([[[2.0, 0.0]]]), torch.tensor([[[5.0, 5.0]]]))
    # (3, 3) and (4, 28) are normed to (1, 1) and (4, 28) / sqrt(400).
    assert y.flatten().tolist() == pytest.approx([10 + 0.2, 20 + 2 * 1.4])


def mixture(per_token: int = 2, weighs: str = "output", **options: Any) -> tuple[MoeMlp, Tensor]:
    expert = words.GatedMlp(width=3, activation="silu", bias=True, beta=1.7, limit=0.9, up_offset=1.0)
    router = words.Router(score="sigmoid", weighs=weighs)
    word = words.MoeMlp(experts=5, per_token=per_token, router=router, expert=expert, **options)
    torch.manual_seed(0)
    module = MoeMlp(word, 4, torch.float32)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    return module, torch.randn(2, 3, 4)


def test_a_mixture_is_the_weighted_sum_of_gated_mlps() -> None:
    module, x = mixture(shared=words.PlainMlp(width=6, activation="relu"), shared_gate=True, shared_scale=0.5)
    wanted = sum_of_experts(module, x, lambda expert, share, token: share * expert(token))
    for b in range(2):
        for s in range(3):
            gate = torch.sigmoid(x[b, s] @ module.shared_gate.weight[0])
            wanted[b, s] += 0.5 * gate * module.shared(x[b, s])
    torch.testing.assert_close(module(x, x), wanted)


@pytest.mark.parametrize("per_token", [1, 3])
def test_weights_of_inputs(per_token: int) -> None:
    module, x = mixture(per_token, weighs="input")
    wanted = sum_of_experts(module, x, lambda expert, share, token: expert(share * token))
    torch.testing.assert_close(module(x, x), wanted)


def sum_of_experts(module: MoeMlp, x: Tensor, apply: Callable[[GatedMlp, Tensor, Tensor], Tensor]) -> Tensor:
    """The sum over the chosen experts of each token, one expert and one token at a time."""
    chosen, weights = module.router(x)
    alone = alone_experts(module)
    wanted = torch.zeros_like(x)
    for b in range(2):
        for s in range(3):
            for index, share in zip(chosen[b, s].tolist(), weights[b, s], strict=True):
                wanted[b, s] += apply(alone[index], share, x[b, s])
    return wanted


def alone_experts(module: MoeMlp) -> list[GatedMlp]:
    """Each expert of a mixture as a module of its own."""
    alone = []
    for index in range(5):
        expert = GatedMlp(module.experts.word, 4, torch.float32)
        for name in ("gate", "up", "down"):
            stack, projection = getattr(module.experts, name), getattr(expert, name)
            projection.weight.data, projection.bias.data = stack.weight.data[index], stack.bias.data[index]
        alone.append(expert)
    return alone


def test_the_clamped_gate_by_hand() -> None:
    word = words.GatedMlp(width=1, activation="silu", beta=2.0, limit=3.0, up_offset=1.0)
    module = GatedMlp(word, 1, torch.float32)
    for name, value in {"gate": 5.0, "up": -4.0, "down": 1.0}.items():
        getattr(module, name).weight.data.fill_(value)
    # The gate is cut to 3, the branch to −3: 3 · sigmoid(2 · 3) · (−3 + 1).
    assert module(torch.ones(1, 1)).item() == pytest.approx(-6 / (1 + math.exp(-6)))
    # Below, only the branch is: −5 · sigmoid(2 · −5) · (3 + 1).
    assert module(-torch.ones(1, 1)).item() == pytest.approx(-20 / (1 + math.exp(10)))


def test_the_clamp_after_the_activation_by_hand() -> None:
    word = words.GatedMlp(width=1, activation="relu2", activation_limit=3.0)
    module = GatedMlp(word, 1, torch.float32)
    for name, value in {"gate": 2.0, "up": -4.0, "down": 1.0}.items():
        getattr(module, name).weight.data.fill_(value)
    # 2² is cut to 3, and −4 to −3.
    assert module(torch.ones(1, 1)).item() == pytest.approx(-9)


def test_experts_are_slots_of_their_own() -> None:
    module, _ = mixture()
    shapes = slot_shapes(torch.nn.ModuleDict({"mlp": module}))
    assert shapes["mlp.router.projection.weight"] == (5, 4)
    assert shapes["mlp.experts.4.down.weight"] == (4, 3)
    assert shapes["mlp.experts.0.up.bias"] == (3,)
    assert len(shapes) == 1 + 5 * 6


def test_an_expert_computes_the_first_tokens_of_each_row() -> None:
    chosen = torch.tensor([[2, 0, 2, 2, 0], [1, 1, 1, 0, 1]])[..., None]
    expected = [[1, 1, 1, 0, 1], [1, 1, 0, 1, 0]]
    assert within_capacity(chosen, 2)[..., 0].tolist() == expected


def test_a_bias_on_the_sum_of_experts() -> None:
    module, x = mixture(sum_bias=True)
    biased = module(x, x)
    with torch.no_grad():
        bias = module.bias.clone()
        module.bias.zero_()
    torch.testing.assert_close(biased, module(x, x) + bias)
    assert bias.abs().min() > 0
