"""Cross-attention against softmax(scale · q · kᵀ) · v written out."""

from __future__ import annotations

import pytest
import torch

from archc.archspec import vocabulary as words
from archc.compiler.modules.attention.cross_attention import CrossAttention


def made(width: int = 6, source_width: int = 5, **options: object) -> CrossAttention:
    word = words.CrossAttention.model_validate({"heads": 2, "kv_heads": 1, "head_dim": 4, **options})
    module = CrossAttention(word, width, source_width, torch.float32)
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return module


def test_queries_read_the_real_tokens_of_the_source() -> None:
    module = made(bias={"qkv": True, "out": True}, scale=0.7)
    x, source = torch.randn(2, 3, 6), torch.randn(2, 4, 5)
    keys, values = module.keys_values(source)
    assert keys.shape == values.shape == (2, 1, 4, 4)
    mask = torch.tensor([[True, True, True, True], [True, True, False, False]])[:, None, None, :].expand(2, 1, 3, 4)
    got = module(x, keys, values, mask)
    for row, length in enumerate([4, 2]):
        k, v = module.k(source[row, :length]), module.v(source[row, :length])
        heads = [(0.7 * q @ k.T).softmax(-1) @ v for q in module.q(x[row]).split(4, dim=-1)]
        assert torch.allclose(got[row], module.o(torch.cat(heads, dim=-1)), atol=1e-5)


def test_clip_softcap_and_norms() -> None:
    norm = {"kind": "rmsnorm", "eps": 0.1}
    module = made(clip=0.5, softcap=2.0, qk_norm=norm)
    x, source = torch.randn(1, 1, 6), torch.randn(1, 3, 5)
    keys, values = (x.detach() for x in module.keys_values(source))
    assert values.abs().max().item() <= 0.5

    def normed(y: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + 0.1) * weight

    k = normed(module.k(source[0]).clamp(-0.5, 0.5), module.k_norm.weight)
    v = module.v(source[0]).clamp(-0.5, 0.5)
    heads = []
    for q in module.q(x[0]).clamp(-0.5, 0.5).split(4, dim=-1):
        scores = normed(q, module.q_norm.weight) @ k.T / 2
        heads.append((2 * (scores / 2).tanh()).softmax(-1) @ v)
    got = module(x, keys, values, torch.ones(1, 1, 1, 3, dtype=torch.bool))
    assert torch.allclose(got[0], module.o(torch.cat(heads, dim=-1)), atol=1e-5)


def test_the_default_scale_is_of_the_heads_width() -> None:
    assert made().scale == pytest.approx(0.5)
