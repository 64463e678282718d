"""Attention over a latent that all heads share (DeepSeek-AI 2024, DeepSeek-V2, section 2.1), as one torch operator.

Shape suffixes as in `operators`, and: N width of a key's part that does not rotate, R of the part that does,
V of a value, L of the latent, X = L + R what is stored of a token.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from archc.compiler.graph.builder import op
from archc.compiler.graph.domains import ARCHC
from archc.compiler.ops.registry import translates


@custom_op("archc::latent_attention", mutates_args=())
def latent_attention(
    q_BHSN: Tensor,
    q_BHSR: Tensor | None,
    stored_B1CX: Tensor,
    k_up: Tensor,
    v_up: Tensor,
    mask_B1ST: Tensor,
    scale: float,
    sinks_H: Tensor | None = None,
    cached: bool = False,
) -> Tensor:
    """Return softmax(scale · (q · (latent · k_upᵀ) + q_rotated · k_rotated), where mask) · (latent · v_upᵀ).

    The result is [B, H, S, V]. `stored` holds each token's latent and then the rotated part of its key; k_up [H·N, L]
    and v_up [H·V, L]. A `cached` one is a whole cache, of which the first T slots are live; otherwise C is T. Sinks are
    scores that add to the denominator only. Without a rotated part, R is 0.
    """
    heads, latent = q_BHSN.shape[1], k_up.shape[1]
    stored_B1TX = stored_B1CX[:, :, : mask_B1ST.shape[-1]]
    latent_B1TL, rotated_B1TR = stored_B1TX[..., :latent], stored_B1TX[..., latent:]
    k_BHTN = latent_B1TL @ k_up.unflatten(0, (heads, -1)).transpose(-1, -2)
    v_BHTV = latent_B1TL @ v_up.unflatten(0, (heads, -1)).transpose(-1, -2)
    scores = q_BHSN @ k_BHTN.transpose(-1, -2)
    if q_BHSR is not None:
        scores = scores + q_BHSR @ rotated_B1TR.transpose(-1, -2)
    scores = (scale * scores).float().masked_fill(~mask_B1ST, torch.finfo(torch.float32).min)
    if sinks_H is not None:
        sinks = sinks_H.float()[:, None, None].expand(*scores.shape[:-1], 1)
        return torch.cat((scores, sinks), dim=-1).softmax(-1)[..., :-1].to(v_BHTV.dtype) @ v_BHTV
    return scores.softmax(-1).to(v_BHTV.dtype) @ v_BHTV


@latent_attention.register_fake
def _(q_BHSN: Tensor, q_BHSR: Tensor | None, stored_B1CX: Tensor, k_up: Tensor, v_up: Tensor, *_: object) -> Tensor:
    return q_BHSN.new_empty(*q_BHSN.shape[:-1], v_up.shape[0] // q_BHSN.shape[1])


@translates(torch.ops.archc.latent_attention.default)
def _latent_attention(
    q: Any,
    q_rotated: Any,
    stored: Any,
    k_up: Any,
    v_up: Any,
    mask: Any,
    scale: float = 1.0,
    sinks: Any = None,
    cached: bool = False,
) -> Any:
    operands = (q, q_rotated, stored, k_up, v_up, mask, sinks)
    return op.LatentAttention(*operands, scale=scale, cached=int(cached), domain=ARCHC)
