"""Attention over a latent that all heads share (DeepSeek-AI 2024, DeepSeek-V2, section 2.1), as one torch operator.

Shape suffixes as in `operators`, and: N width of a key's part that does not rotate, R of the part that does,
V of a value, L of the latent, X = L + R what is stored of a token.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from archc.compiler.graph.opset import ints, op
from archc.compiler.ops.operators import ATTENTION_METADATA


@custom_op("archc::latent_attention", mutates_args=())
def latent_attention(
    q_BHSN: Tensor,
    q_BHSR: Tensor,
    stored_B1TX: Tensor,
    k_up: Tensor,
    v_up: Tensor,
    mask_B1ST: Tensor,
    scale: float,
) -> Tensor:
    """softmax(scale · (q · (latent · k_upᵀ) + q_rotated · k_rotated), where mask) · (latent · v_upᵀ) → [B, H, S, V].

    `stored` holds each token's latent and then the rotated part of its key; k_up [H·N, L] and v_up [H·V, L]. The body
    is the definition. The graph is given the same product with k_up drawn to the queries and v_up to the result (the
    paper's "absorbed" form): one key/value head that is what is stored, and no key or value of any head.
    """
    heads, latent = q_BHSN.shape[1], k_up.shape[1]
    latent_B1TL, rotated_B1TR = stored_B1TX.split([latent, stored_B1TX.shape[-1] - latent], dim=-1)
    k_BHTN = latent_B1TL @ k_up.unflatten(0, (heads, -1)).transpose(-1, -2)
    v_BHTV = latent_B1TL @ v_up.unflatten(0, (heads, -1)).transpose(-1, -2)
    scores = q_BHSN @ k_BHTN.transpose(-1, -2) + q_BHSR @ rotated_B1TR.transpose(-1, -2)
    scores = (scale * scores).float().masked_fill(~mask_B1ST, torch.finfo(torch.float32).min)
    return scores.softmax(-1).to(v_BHTV.dtype) @ v_BHTV


@latent_attention.register_fake
def _(
    q_BHSN: Tensor,
    q_BHSR: Tensor,
    stored_B1TX: Tensor,
    k_up: Tensor,
    v_up: Tensor,
    mask_B1ST: Tensor,
    scale: float,
) -> Tensor:
    return q_BHSN.new_empty(*q_BHSN.shape[:-1], v_up.shape[0] // q_BHSN.shape[1])


def _latent_attention(q: Any, q_rotated: Any, stored: Any, k_up: Any, v_up: Any, mask: Any, scale: float = 1.0) -> Any:
    heads, latent = int(q.shape[1]), int(k_up.shape[1])

    def per_head(weight: Any) -> Any:
        return op.Reshape(weight, ints(heads, int(weight.shape[0]) // heads, latent))

    query = op.Concat(op.MatMul(q, per_head(k_up)), q_rotated, axis=-1)
    # Keys serve as values too, for TensorRT's Attention wants both of one width; the rest of the result is cut off.
    y = op.Attention(query, stored, stored, mask, scale=scale, is_causal=0, softmax_precision=1)
    y.producer().metadata_props[ATTENTION_METADATA] = json.dumps({"scale": scale, "bias": False, "latent": latent})
    mixed = op.Slice(y, ints(0), ints(latent), ints(3))
    return op.MatMul(mixed, op.Transpose(per_head(v_up), perm=[0, 2, 1]))


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.archc.latent_attention.default: _latent_attention
}
