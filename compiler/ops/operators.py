"""The torch operators that components call and that stay one node of a graph until a target's lowering.

Each operator has an eager body (a model runs in torch), a fake body (shapes only, for tracing on the meta device) and a
translation to a node of the domain `archc`, or of the standard domain if that has the operator.

Shape suffixes: B batch, S new positions, T live positions (cached and new), C cache capacity, H query heads,
K key/value heads, D head width, R rotated dims, P positions asked for, N features in, M features out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from archc.compiler.graph.builder import op
from archc.compiler.graph.domains import ARCHC
from archc.compiler.ops.registry import translates


@custom_op("archc::linear", mutates_args=())
def linear(x: Tensor, weight_MN: Tensor, bias_M: Tensor | None) -> Tensor:
    """Return x[..., N] · weight[M, N]ᵀ + bias[M] as [..., M]."""
    return torch.nn.functional.linear(x, weight_MN, bias_M)


@linear.register_fake
def _(x: Tensor, weight_MN: Tensor, bias_M: Tensor | None) -> Tensor:
    return x.new_empty(*x.shape[:-1], weight_MN.shape[0])


@translates(torch.ops.archc.linear.default)
def _linear(x: Any, weight: Any, bias: Any = None) -> Any:
    return op.Linear(x, weight, bias, domain=ARCHC)


@custom_op("archc::product", mutates_args=())
def product(x: Tensor, y: Tensor) -> Tensor:
    """Return the matrix products x[..., A, B] · y[..., B, C] as [..., A, C]; the other axes are broadcast."""
    return x @ y


@product.register_fake
def _(x: Tensor, y: Tensor) -> Tensor:
    return x.new_empty(*torch.broadcast_shapes(x.shape[:-2], y.shape[:-2]), x.shape[-2], y.shape[-1])


@translates(torch.ops.archc.product.default)
def _product(x: Any, y: Any) -> Any:
    return op.MatMul(x, y)


@custom_op("archc::split_heads", mutates_args=())
def split_heads(x_BSM: Tensor, heads: int) -> Tensor:
    """Return [B, S, heads · D] as [B, heads, S, D]."""
    batch, length, width = x_BSM.shape
    # A copy even where the order stays (one head, one position): an operator must not return its own input.
    return (
        x_BSM.reshape(batch, length, heads, width // heads).transpose(1, 2).clone(memory_format=torch.contiguous_format)
    )


@split_heads.register_fake
def _(x_BSM: Tensor, heads: int) -> Tensor:
    batch, length, width = x_BSM.shape
    return x_BSM.new_empty(batch, heads, length, width // heads)


@translates(torch.ops.archc.split_heads.default)
def _split_heads(x: Any, heads: int) -> Any:
    return op.SplitHeads(x, heads=heads, domain=ARCHC)


@custom_op("archc::merge_heads", mutates_args=())
def merge_heads(x_BHSD: Tensor) -> Tensor:
    """Return [B, H, S, D] as [B, S, H · D]."""
    return x_BHSD.transpose(1, 2).clone(memory_format=torch.contiguous_format).flatten(2)


@merge_heads.register_fake
def _(x_BHSD: Tensor) -> Tensor:
    batch, heads, length, width = x_BHSD.shape
    return x_BHSD.new_empty(batch, length, heads * width)


@translates(torch.ops.archc.merge_heads.default)
def _merge_heads(x: Any) -> Any:
    width = int(x.shape[1]) * int(x.shape[3])
    # A zero in Reshape's target copies that axis, so no arithmetic on shapes is left in the graph.
    return op.Reshape(op.Transpose(x, perm=[0, 2, 1, 3]), op.ints(0, 0, width))


@custom_op("archc::rms_norm", mutates_args=())
def rms_norm(x: Tensor, weight_N: Tensor, eps: float, offset: float = 0.0) -> Tensor:
    """Return x · rsqrt(mean(x²) + eps) · (weight + offset), in float32 (Zhang & Sennrich 2019, eq. 4)."""
    wide = x.float()
    normed = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    return normed.to(x.dtype) * (weight_N + offset if offset else weight_N)


@rms_norm.register_fake
def _(x: Tensor, weight_N: Tensor, eps: float, offset: float = 0.0) -> Tensor:
    return torch.empty_like(x)


@translates(torch.ops.archc.rms_norm.default)
def _rms_norm(x: Any, weight: Any, eps: float, offset: float = 0.0) -> Any:
    return op.Norm(x, weight, kind="rms", epsilon=eps, offset=offset, domain=ARCHC)


@custom_op("archc::layer_norm", mutates_args=())
def layer_norm(x: Tensor, weight_N: Tensor | None, bias_N: Tensor | None, eps: float, offset: float = 0.0) -> Tensor:
    """Return (x − mean) · rsqrt(var + eps) · (weight + offset) + bias over the last axis (Ba et al. 2016)."""
    weight_N = weight_N + offset if weight_N is not None and offset else weight_N
    return torch.nn.functional.layer_norm(x, x.shape[-1:], weight_N, bias_N, eps)


@layer_norm.register_fake
def _(x: Tensor, weight_N: Tensor | None, bias_N: Tensor | None, eps: float, offset: float = 0.0) -> Tensor:
    return torch.empty_like(x)


@translates(torch.ops.archc.layer_norm.default)
def _layer_norm(x: Any, weight: Any, bias: Any, eps: float, offset: float = 0.0) -> Any:
    return op.Norm(x, weight, bias, kind="layer", epsilon=eps, offset=offset, domain=ARCHC)


@custom_op("archc::swish", mutates_args=())
def swish(x: Tensor, beta: float) -> Tensor:
    """Return x · sigmoid(beta · x) (Ramachandran et al. 2017, section 4.1)."""
    return x * (beta * x).sigmoid()


@swish.register_fake
def _(x: Tensor, beta: float) -> Tensor:
    return torch.empty_like(x)


@translates(torch.ops.archc.swish.default)
def _swish(x: Any, beta: float) -> Any:
    return op.Swish(x, alpha=beta)


@custom_op("archc::rotary", mutates_args=())
def rotary(x_BHSD: Tensor, cos_BSR: Tensor, sin_BSR: Tensor, interleaved: bool) -> Tensor:
    """Rotate the first 2·R dims of every head by the angles of cos and sin [B, S, R] (Su et al. 2021, eq. 34).

    interleaved: dim 2i rotates with dim 2i + 1; otherwise dim i with dim i + R. Later dims pass through.
    """
    half = cos_BSR.shape[-1]
    rotated, rest = x_BHSD[..., : 2 * half], x_BHSD[..., 2 * half :]
    cos, sin = cos_BSR.unsqueeze(1), sin_BSR.unsqueeze(1)
    if interleaved:
        first, second = rotated[..., 0::2], rotated[..., 1::2]
        rotated = torch.stack((first * cos - second * sin, second * cos + first * sin), dim=-1).flatten(-2)
    else:
        first, second = rotated[..., :half], rotated[..., half:]
        rotated = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
    return torch.cat((rotated, rest), dim=-1)


@rotary.register_fake
def _(x_BHSD: Tensor, cos_BSR: Tensor, sin_BSR: Tensor, interleaved: bool) -> Tensor:
    return torch.empty_like(x_BHSD)


@translates(torch.ops.archc.rotary.default)
def _rotary(x: Any, cos: Any, sin: Any, interleaved: bool) -> Any:
    rotated = 2 * int(cos.shape[-1])
    partial = 0 if rotated == int(x.shape[-1]) else rotated
    return op.RotaryEmbedding(x, cos, sin, interleaved=int(interleaved), rotary_embedding_dim=partial)


@custom_op("archc::update_cache", mutates_args=())
def update_cache(cache_BKCD: Tensor, new_BKSD: Tensor, write_indices_B: Tensor) -> Tensor:
    """Return the cache with slots write_indices[b] … write_indices[b] + S − 1 of row b replaced by the new entries."""
    slots = write_indices_B[:, None] + torch.arange(new_BKSD.shape[2], device=new_BKSD.device)
    index = slots[:, None, :, None].expand(new_BKSD.shape)
    return cache_BKCD.scatter(2, index, new_BKSD)


@update_cache.register_fake
def _(cache_BKCD: Tensor, new_BKSD: Tensor, write_indices_B: Tensor) -> Tensor:
    return torch.empty_like(cache_BKCD)


@translates(torch.ops.archc.update_cache.default)
def _update_cache(cache: Any, new: Any, write_indices: Any) -> Any:
    return op.UpdateCache(cache, new, write_indices, mode="linear", domain=ARCHC)


@custom_op("archc::attention", mutates_args=())
def attention(
    q_BHSD: Tensor,
    k_BKCD: Tensor,
    v_BKCD: Tensor,
    mask_B1ST: Tensor,
    bias_BHST: Tensor | None,
    scale: float,
    softcap: float,
    sinks_H: Tensor | None = None,
    cached: bool = False,
) -> Tensor:
    """Return softmax(cap(scale · q·kᵀ) + bias, where mask) · v as [B, H, S, D].

    Query head h attends to key/value head h // (H / K). cap(s) is softcap · tanh(s / softcap), or s for a softcap of 0
    (Riviere et al. 2024, section 2). Causality, windows and padding are in the mask (true: attended); the softmax is in
    float32. A sink is one more score of a head, whose weight reaches no value (Xiao et al. 2023; gpt-oss). Keys and
    values that are `cached` are whole caches, of which the first T slots are live; otherwise C is T.
    """
    groups, live = q_BHSD.shape[1] // k_BKCD.shape[1], mask_B1ST.shape[-1]
    keys, values = (x[:, :, :live].repeat_interleave(groups, 1) for x in (k_BKCD, v_BKCD))
    scores = (scale * (q_BHSD @ keys.transpose(-1, -2))).float()
    if softcap:
        scores = softcap * (scores / softcap).tanh()
    if bias_BHST is not None:
        scores = scores + bias_BHST.float()
    scores = scores.masked_fill(~mask_B1ST, torch.finfo(torch.float32).min)
    if sinks_H is not None:
        sinks = sinks_H.float()[:, None, None].expand(*scores.shape[:-1], 1)
        return torch.cat((scores, sinks), dim=-1).softmax(-1)[..., :-1].to(values.dtype) @ values
    return scores.softmax(-1).to(values.dtype) @ values


@attention.register_fake
def _(q_BHSD: Tensor, k_BKCD: Tensor, v_BKCD: Tensor, *_: object) -> Tensor:
    return q_BHSD.new_empty(*q_BHSD.shape[:-1], v_BKCD.shape[-1])


@translates(torch.ops.archc.attention.default)
def _attention(
    q: Any,
    k: Any,
    v: Any,
    mask: Any,
    bias: Any = None,
    scale: float = 1.0,
    softcap: float = 0.0,
    sinks: Any = None,
    cached: bool = False,
) -> Any:
    return op.Attention(q, k, v, mask, bias, sinks, scale=scale, softcap=softcap, cached=int(cached), domain=ARCHC)


@custom_op("archc::take_positions", mutates_args=())
def take_positions(x_BSN: Tensor, positions_BP: Tensor) -> Tensor:
    """Return the rows of x at the positions of each sequence as [B, P, N]."""
    return x_BSN.gather(1, positions_BP[..., None].expand(-1, -1, x_BSN.shape[-1]))


@take_positions.register_fake
def _(x_BSN: Tensor, positions_BP: Tensor) -> Tensor:
    return x_BSN.new_empty(positions_BP.shape[0], positions_BP.shape[1], x_BSN.shape[-1])


@translates(torch.ops.archc.take_positions.default)
def _take_positions(x: Any, positions: Any) -> Any:
    return op.TakePositions(x, positions, domain=ARCHC)
