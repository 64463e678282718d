"""The torch operators that components call where ONNX has an operator of its own.

Each operator has an eager body (so that a model runs in torch), a fake body (shapes only, so that it can be traced on
the meta device) and an ONNX translation in `TRANSLATIONS`. Together they let one module run in torch and export.

Shape suffixes: B batch, S new positions, T live positions (cached and new), C cache capacity, H query heads,
K key/value heads, D head width, R rotated dims, P positions asked for, N features in, M features out.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor
from torch.library import custom_op

from archc.compiler.graph.opset import constant, ints, number, op
from archc.compiler.ops.experts import experts_node

# Where an Attention node carries its own description, for passes to read; see `attention`.
ATTENTION_METADATA = "archc.attention"


@custom_op("archc::linear", mutates_args=())
def linear(x: Tensor, weight_MN: Tensor, bias_M: Tensor | None) -> Tensor:
    """x[..., N] · weight[M, N]ᵀ + bias[M] → [..., M]."""
    return torch.nn.functional.linear(x, weight_MN, bias_M)


@linear.register_fake
def _(x: Tensor, weight_MN: Tensor, bias_M: Tensor | None) -> Tensor:
    return x.new_empty(*x.shape[:-1], weight_MN.shape[0])


def _linear(x: Any, weight: Any, bias: Any = None) -> Any:
    product = op.MatMul(x, op.Transpose(weight, perm=[1, 0]))
    return product if bias is None else op.Add(product, bias)


@custom_op("archc::embedding_logits", mutates_args=())
def embedding_logits(x_BPN: Tensor, weight_MN: Tensor) -> Tensor:
    """x[B, P, N] · weight[M, N]ᵀ → [B, P, M], with a weight that the token embedding reads too.

    It translates to Gemm with transB, so that the one table serves both and is stored once.
    """
    return x_BPN @ weight_MN.t()


@embedding_logits.register_fake
def _(x_BPN: Tensor, weight_MN: Tensor) -> Tensor:
    return x_BPN.new_empty(x_BPN.shape[0], x_BPN.shape[1], weight_MN.shape[0])


def _embedding_logits(x: Any, weight: Any) -> Any:
    width = int(weight.shape[1])
    rows = op.Reshape(x, ints(-1, width))
    logits = op.Gemm(rows, weight, transB=1)
    # [B·P, M] back to [B, P, M]: the leading sizes come from x, and M is known.
    lead = op.Shape(x, start=0, end=2)
    # allowzero: a call may ask for no position at all.
    return op.Reshape(logits, op.Concat(lead, ints(int(weight.shape[0])), axis=0), allowzero=1)


@custom_op("archc::split_heads", mutates_args=())
def split_heads(x_BSM: Tensor, heads: int) -> Tensor:
    """[B, S, heads·D] → [B, heads, S, D]."""
    batch, length, width = x_BSM.shape
    # A copy even where the order stays (one head, one position): an operator must not return its own input.
    return (
        x_BSM.reshape(batch, length, heads, width // heads).transpose(1, 2).clone(memory_format=torch.contiguous_format)
    )


@split_heads.register_fake
def _(x_BSM: Tensor, heads: int) -> Tensor:
    batch, length, width = x_BSM.shape
    return x_BSM.new_empty(batch, heads, length, width // heads)


def _split_heads(x: Any, heads: int) -> Any:
    # A zero in Reshape's target copies that axis, so no arithmetic on shapes is left in the graph.
    return op.Transpose(op.Reshape(x, ints(0, 0, heads, -1)), perm=[0, 2, 1, 3])


@custom_op("archc::merge_heads", mutates_args=())
def merge_heads(x_BHSD: Tensor) -> Tensor:
    """[B, H, S, D] → [B, S, H·D]."""
    return x_BHSD.transpose(1, 2).clone(memory_format=torch.contiguous_format).flatten(2)


@merge_heads.register_fake
def _(x_BHSD: Tensor) -> Tensor:
    batch, heads, length, width = x_BHSD.shape
    return x_BHSD.new_empty(batch, length, heads * width)


def _merge_heads(x: Any) -> Any:
    width = int(x.shape[1]) * int(x.shape[3])
    return op.Reshape(op.Transpose(x, perm=[0, 2, 1, 3]), ints(0, 0, width))


@custom_op("archc::rms_norm", mutates_args=())
def rms_norm(x: Tensor, weight_N: Tensor, eps: float) -> Tensor:
    """x · rsqrt(mean(x²) + eps) · weight over the last axis, computed in float32 (Zhang & Sennrich 2019, eq. 4)."""
    wide = x.float()
    normed = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    return normed.to(x.dtype) * weight_N


@rms_norm.register_fake
def _(x: Tensor, weight_N: Tensor, eps: float) -> Tensor:
    return torch.empty_like(x)


def _rms_norm(x: Any, weight: Any, eps: float) -> Any:
    return op.RMSNormalization(x, weight, axis=-1, epsilon=eps, stash_type=1)


@custom_op("archc::rotary", mutates_args=())
def rotary(x_BHSD: Tensor, cos_BSR: Tensor, sin_BSR: Tensor, interleaved: bool) -> Tensor:
    """Rotates the first 2·R dims of every head by the angles given as cos and sin [B, S, R] (Su et al. 2021, eq. 34).

    interleaved: dim 2i turns with dim 2i + 1; else dim i with dim i + R. Later dims pass through.
    """
    half = cos_BSR.shape[-1]
    turned, rest = x_BHSD[..., : 2 * half], x_BHSD[..., 2 * half :]
    cos, sin = cos_BSR.unsqueeze(1), sin_BSR.unsqueeze(1)
    if interleaved:
        first, second = turned[..., 0::2], turned[..., 1::2]
        turned = torch.stack((first * cos - second * sin, second * cos + first * sin), dim=-1).flatten(-2)
    else:
        first, second = turned[..., :half], turned[..., half:]
        turned = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
    return torch.cat((turned, rest), dim=-1)


@rotary.register_fake
def _(x_BHSD: Tensor, cos_BSR: Tensor, sin_BSR: Tensor, interleaved: bool) -> Tensor:
    return torch.empty_like(x_BHSD)


def _rotary(x: Any, cos: Any, sin: Any, interleaved: bool) -> Any:
    rotated = 2 * int(cos.shape[-1])
    partial = 0 if rotated == int(x.shape[-1]) else rotated
    return op.RotaryEmbedding(x, cos, sin, interleaved=int(interleaved), rotary_embedding_dim=partial)


@custom_op("archc::update_cache", mutates_args=())
def update_cache(cache_BKCD: Tensor, new_BKSD: Tensor, write_indices_B: Tensor) -> Tensor:
    """The cache with row b's slots write_indices[b] … write_indices[b] + S − 1 replaced by the new entries."""
    slots = write_indices_B[:, None] + torch.arange(new_BKSD.shape[2], device=new_BKSD.device)
    index = slots[:, None, :, None].expand(new_BKSD.shape)
    return cache_BKCD.scatter(2, index, new_BKSD)


@update_cache.register_fake
def _(cache_BKCD: Tensor, new_BKSD: Tensor, write_indices_B: Tensor) -> Tensor:
    return torch.empty_like(cache_BKCD)


def _update_cache(cache: Any, new: Any, write_indices: Any) -> Any:
    return op.TensorScatter(cache, new, write_indices, axis=-2)


@custom_op("archc::live", mutates_args=())
def live(cache_BKCD: Tensor, mask_B1ST: Tensor) -> Tensor:
    """The first T slots of a cache, T being the mask's last size: [B, K, T, D]."""
    return cache_BKCD[:, :, : mask_B1ST.shape[-1]].clone()


@live.register_fake
def _(cache_BKCD: Tensor, mask_B1ST: Tensor) -> Tensor:
    batch, heads, _, width = cache_BKCD.shape
    return cache_BKCD.new_empty(batch, heads, mask_B1ST.shape[-1], width)


def _live(cache: Any, mask: Any) -> Any:
    return op.Slice(cache, ints(0), op.Shape(mask, start=3, end=4), ints(2))


@custom_op("archc::attention", mutates_args=())
def attention(
    q_BHSD: Tensor,
    k_BKTD: Tensor,
    v_BKTD: Tensor,
    mask_B1ST: Tensor,
    bias_BHST: Tensor | None,
    scale: float,
    softcap: float,
    sinks_H: Tensor | None = None,
) -> Tensor:
    """softmax(cap(scale · q·kᵀ) + bias, where mask) · v → [B, H, S, D]; query head h reads kv head h // (H / K).

    cap(s) is softcap · tanh(s / softcap), or s for a softcap of 0 (Riviere et al. 2024, section 2). Causality, windows
    and padding live in the mask (true = seen); the softmax is computed in float32. A sink is one more score of a head,
    whose weight reaches no value (Xiao et al. 2023; gpt-oss).
    """
    groups = q_BHSD.shape[1] // k_BKTD.shape[1]
    keys, values_ = k_BKTD.repeat_interleave(groups, 1), v_BKTD.repeat_interleave(groups, 1)
    scores = (scale * (q_BHSD @ keys.transpose(-1, -2))).float()
    if softcap:
        scores = softcap * (scores / softcap).tanh()
    if bias_BHST is not None:
        scores = scores + bias_BHST.float()
    scores = scores.masked_fill(~mask_B1ST, torch.finfo(torch.float32).min)
    if sinks_H is not None:
        sinks = sinks_H.float()[:, None, None].expand(*scores.shape[:-1], 1)
        return torch.cat((scores, sinks), dim=-1).softmax(-1)[..., :-1].to(values_.dtype) @ values_
    return scores.softmax(-1).to(values_.dtype) @ values_


@attention.register_fake
def _(
    q_BHSD: Tensor,
    k_BKTD: Tensor,
    v_BKTD: Tensor,
    mask_B1ST: Tensor,
    bias_BHST: Tensor | None,
    scale: float,
    softcap: float,
    sinks_H: Tensor | None = None,
) -> Tensor:
    return q_BHSD.new_empty(*q_BHSD.shape[:-1], v_BKTD.shape[-1])


def _attention(
    q: Any, k: Any, v: Any, mask: Any, bias: Any = None, scale: float = 1.0, softcap: float = 0.0, sinks: Any = None
) -> Any:
    if softcap or sinks is not None:
        return _spelled_attention(q, k, v, mask, bias, scale, softcap, sinks)
    attn_mask = mask
    if bias is not None:
        # The lowest finite number, not −inf: a row with nothing to see must stay a number.
        attn_mask = op.Where(mask, bias, _lowest(bias.dtype))
    y = op.Attention(q, k, v, attn_mask, scale=scale, is_causal=0, softmax_precision=1)
    y.producer().metadata_props[ATTENTION_METADATA] = json.dumps({"scale": scale, "bias": bias is not None})
    return y


def _lowest(dtype: ir.DataType) -> Any:
    return constant(np.array(dtype.min, dtype=dtype.numpy()))


def _spelled_attention(q: Any, k: Any, v: Any, mask: Any, bias: Any, scale: float, softcap: float, sinks: Any) -> Any:
    """TensorRT's Attention has no softcap and no sinks, so they are spelled out, a kv head's queries as rows."""
    heads, kv_heads, width = int(q.shape[1]), int(k.shape[1]), int(q.shape[3])

    def reshape(x: Any, *sizes: int) -> Any:
        return op.Reshape(x, ints(*sizes))

    rows = reshape(q, 0, kv_heads, -1, width)
    products = op.Cast(op.MatMul(rows, op.Transpose(k, perm=[0, 1, 3, 2])), to=ir.DataType.FLOAT)
    products = op.Mul(products, number(scale / softcap if softcap else scale, ir.DataType.FLOAT))
    if softcap:
        products = op.Mul(op.Tanh(products), number(softcap, ir.DataType.FLOAT))
    scores = reshape(products, 0, heads, -1, 0)
    if bias is not None:
        scores = op.Add(scores, op.Cast(bias, to=ir.DataType.FLOAT))
    seen = op.Where(mask, scores, _lowest(ir.DataType.FLOAT))
    if sinks is None:
        weights = op.Softmax(seen, axis=-1)
    else:
        column = op.Concat(op.Shape(seen, start=0, end=3), ints(1), axis=0)
        sinks = op.Expand(op.Cast(reshape(sinks, 1, heads, 1, 1), to=ir.DataType.FLOAT), column)
        weights = op.Softmax(op.Concat(seen, sinks, axis=-1), axis=-1)
        first, last, axis = (ints(place) for place in (0, -1, 3))
        weights = op.Slice(weights, first, last, axis)
    weights = reshape(op.CastLike(weights, v), 0, kv_heads, -1, 0)
    return reshape(op.MatMul(weights, v), 0, heads, -1, width)


@custom_op("archc::take_positions", mutates_args=())
def take_positions(x_BSN: Tensor, positions_BP: Tensor) -> Tensor:
    """Rows of x at the given positions of each sequence: [B, P, N]."""
    return x_BSN.gather(1, positions_BP[..., None].expand(-1, -1, x_BSN.shape[-1]))


@take_positions.register_fake
def _(x_BSN: Tensor, positions_BP: Tensor) -> Tensor:
    return x_BSN.new_empty(positions_BP.shape[0], positions_BP.shape[1], x_BSN.shape[-1])


def _take_positions(x: Any, positions: Any) -> Any:
    return op.GatherND(x, op.Unsqueeze(positions, ints(-1)), batch_dims=1)


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.archc.linear.default: _linear,
    torch.ops.archc.embedding_logits.default: _embedding_logits,
    torch.ops.archc.split_heads.default: _split_heads,
    torch.ops.archc.merge_heads.default: _merge_heads,
    torch.ops.archc.rms_norm.default: _rms_norm,
    torch.ops.archc.rotary.default: _rotary,
    torch.ops.archc.update_cache.default: _update_cache,
    torch.ops.archc.live.default: _live,
    torch.ops.archc.attention.default: _attention,
    torch.ops.archc.take_positions.default: _take_positions,
    torch.ops.archc.experts.default: experts_node,
}
