"""Span-based dynamic convolution against sums over the tokens around each one."""

from __future__ import annotations

import torch

from archc.compiler.modules.attention.span_convolution import SpanConvolution
from tests.compiler.modules.values import random_parameters


def test_each_token_and_head_has_a_kernel_over_the_tokens_around_it() -> None:
    module = random_parameters(SpanConvolution(3, 2, 2, 5, torch.float32))
    x, query = torch.randn(1, 4, 5), torch.randn(1, 4, 4)
    real = torch.tensor([1.0, 1.0, 1.0, 0.0])
    got = module(x, query, real[None, :, None])
    rows, values = torch.zeros(6, 5), torch.zeros(6, 4)
    rows[1:4], values[1:4] = x[0, :3], module.v(x)[0, :3]
    for token in range(3):
        spans = sum(module.depthwise[:, offset] * rows[token + offset] for offset in range(3))
        kernels = module.kernel(module.pointwise(spans) * query[0, token]).reshape(2, 3).softmax(-1)
        for head in range(2):
            channels = slice(2 * head, 2 * head + 2)
            expected = sum(kernels[head, offset] * values[token + offset, channels] for offset in range(3))
            torch.testing.assert_close(got[0, head, token], expected)
