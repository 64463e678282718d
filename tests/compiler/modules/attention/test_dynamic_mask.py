"""Dynamic masks against a loop over queries and keys."""

from __future__ import annotations

import math

import torch

from archc.archspec import vocabulary as words
from archc.compiler.contract.state import MASK_BIAS
from archc.compiler.modules.attention.attention import Attention
from archc.compiler.modules.layer_inputs import LayerInputs
from tests.compiler.modules.values import random_parameters

HEADS, KV, DIM, WIDTH, SEQ, KEYS = 4, 2, 3, 8, 6, 3
MASK = torch.ones(1, 1, SEQ, SEQ, dtype=torch.bool).tril()


def attention() -> Attention:
    word = words.GroupedQueryAttention(
        heads=HEADS, kv_heads=KV, head_dim=DIM, dynamic_mask=words.DynamicMask(keys=KEYS, bias=True)
    )
    module: Attention = random_parameters(Attention(word, words.NoPosition(), WIDTH, torch.float32))
    return module


def test_queries_attend_to_the_keys_of_the_largest_biases() -> None:
    module = attention()
    x = torch.randn(1, SEQ, WIDTH, generator=torch.Generator().manual_seed(2))
    y, present = module(x, LayerInputs(mask_B1ST=MASK), {})
    q, k, v = (getattr(module, name)(x)[0].view(SEQ, -1, DIM) for name in "qkv")
    mask = module.dynamic_mask
    assert mask is not None
    step = torch.nn.functional.softplus(v.flatten(1) @ mask.projection.weight.T + mask.projection.bias)
    biases = (mask.rate * step).exp()
    torch.testing.assert_close(present[MASK_BIAS][0, :, :, 0], biases.T)
    heads = torch.zeros(SEQ, HEADS, DIM)
    for t in range(SEQ):
        for head in range(HEADS):
            group = head // (HEADS // KV)
            chosen = biases[: t + 1, group].topk(min(KEYS, t + 1)).indices
            scores = k[chosen, group] @ q[t, head] / math.sqrt(DIM) + biases[chosen, group]
            heads[t, head] = scores.softmax(dim=0) @ v[chosen, group]
    torch.testing.assert_close(y[0], heads.flatten(1) @ module.o.weight.T)


def test_a_cache_has_the_biases_of_earlier_keys() -> None:
    module = attention()
    x = torch.randn(1, SEQ, WIDTH, generator=torch.Generator().manual_seed(4))
    whole, _ = module(x, LayerInputs(mask_B1ST=MASK), {})
    widths = {"key": DIM, "value": DIM, MASK_BIAS: 1}
    state = {name: torch.zeros(1, KV, SEQ + 2, width) for name, width in widths.items()}
    parts = []
    for start, end in ((0, 4), (4, SEQ)):
        inputs = LayerInputs(mask_B1ST=MASK[:, :, start:end, :end], write_indices_B=torch.tensor([start]))
        y, state = module(x[:, start:end], inputs, state)
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole)
