"""Mixtures of attention heads against a loop over tokens and their experts."""

from __future__ import annotations

import math

import torch

from archc.archspec import vocabulary as words
from archc.compiler.modules.attention.attention import Attention
from archc.compiler.modules.layer_inputs import LayerInputs
from tests.compiler.modules.values import random_parameters

EXPERTS, PER_TOKEN, KV, DIM, WIDTH, SEQ = 5, 2, 3, 4, 8, 4


def test_each_token_attends_with_the_heads_of_its_experts() -> None:
    word = words.GroupedQueryAttention(
        heads=PER_TOKEN * KV, kv_heads=KV, head_dim=DIM, mixture=words.HeadMixture(experts=EXPERTS)
    )
    module = random_parameters(Attention(word, words.NoPosition(), WIDTH, torch.float32))
    x = torch.randn(1, SEQ, WIDTH, generator=torch.Generator().manual_seed(3))
    mask = torch.ones(1, 1, SEQ, SEQ, dtype=torch.bool).tril()
    y, _ = module(x, LayerInputs(mask_B1ST=mask), {})
    keys = module.k(x)[0].view(SEQ, KV, DIM)
    values = module.v(x)[0].view(SEQ, KV, DIM)
    q_weight, o_weight = module.q.weight.view(EXPERTS, KV, DIM, WIDTH), module.o.weight.view(WIDTH, EXPERTS, KV, DIM)
    for t in range(SEQ):
        best, chosen = module.mixture.router["projection"](x[0, t]).topk(PER_TOKEN)
        expected = torch.zeros(WIDTH)
        for weight, expert in zip(best.softmax(dim=-1), chosen, strict=True):
            for head in range(KV):
                scores = keys[: t + 1, head] @ (q_weight[expert, head] @ x[0, t]) / math.sqrt(DIM)
                attended = scores.softmax(dim=0) @ values[: t + 1, head]
                expected += weight * (o_weight[:, expert, head] @ attended)
        torch.testing.assert_close(y[0, t], expected)
