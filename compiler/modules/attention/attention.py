"""Softmax attention with grouped queries, over a KV cache or over the keys of the call.

Shape suffixes as in `archc.compiler.ops.operators`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.contract.state import State
from archc.compiler.modules.attention.gate import Gate
from archc.compiler.modules.attention.localized_filter import LocalizedFilter
from archc.compiler.modules.attention.relative_bias import BiasTable
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.modules.basic.norm import make_qk_norm
from archc.compiler.modules.layer_inputs import LayerInputs
from archc.compiler.ops import operators as ops


class Attention(nn.Module):
    """Grouped-query attention (Vaswani et al. 2017; Ainslie et al. 2023), with rotary positions or a bias on scores."""

    def __init__(
        self, word: words.GroupedQueryAttention, position: words.Position, width: int, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.word, self.position = word, position
        self.scale = word.scale if word.scale is not None else 1.0 / math.sqrt(word.head_dim)
        queries, keys = word.heads * word.head_dim, word.kv_heads * word.head_dim
        self.q = Linear(width, queries, word.bias.qkv, dtype)
        self.k = Linear(width, keys, word.bias.qkv, dtype)
        self.v = Linear(width, keys, word.bias.qkv, dtype)
        self.o = Linear(queries, width, word.bias.out, dtype)
        self.filter = LocalizedFilter(word.filter, width, dtype) if word.filter is not None else None
        buckets = isinstance(position, words.RelativeBuckets) and position.table == "per-layer"
        self.relative_bias = BiasTable(position.buckets, word.heads, dtype) if buckets else None  # type: ignore[union-attr]
        self.q_norm = make_qk_norm(word.qk_norm, word.heads, word.head_dim, dtype)
        self.k_norm = make_qk_norm(word.qk_norm, word.kv_heads, word.head_dim, dtype)
        self.norms_after_rotation = getattr(word.qk_norm, "order", "before") == "after"
        self.gate = Gate(word.gate, word.heads, word.head_dim, width, dtype) if word.gate is not None else None
        self.sinks = nn.Parameter(torch.empty(word.heads, dtype=dtype)) if word.sinks else None

    def forward(self, x_BSN: Tensor, inputs: LayerInputs, state: State) -> tuple[Tensor, dict[str, Tensor]]:
        """[B, S, N] → [B, S, N], and the new state; it is empty if `state` is."""
        assert inputs.mask_B1ST is not None
        source_BSN, present = x_BSN, dict[str, Tensor]()
        if self.filter is not None:
            source_BSN, present = self.filter(x_BSN, state, inputs.lengths_B)
        q, k, v = self.project(source_BSN, x_BSN)
        q, k = self.rotate(q, inputs), self.rotate(k, inputs)
        if self.norms_after_rotation:
            q, k = self.q_norm(q), self.k_norm(k)
        if "key" in state:
            present["key"] = ops.update_cache(state["key"], k, inputs.write_indices_B)
            present["value"] = ops.update_cache(state["value"], v, inputs.write_indices_B)
            k, v = present["key"], present["value"]
        if inputs.query_scale_B1S1 is not None:
            q = q * inputs.query_scale_B1S1
        bias, softcap = self.score_bias(inputs), self.word.softcap
        y_BHSD = ops.attention(q, k, v, inputs.mask_B1ST, bias, self.scale, softcap or 0.0, self.sinks, "key" in state)
        if self.gate is not None:
            y_BHSD = self.gate(x_BSN, y_BHSD)
        return self.o(ops.merge_heads(y_BHSD)), present

    def project(self, source_BSN: Tensor, x_BSN: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries [B, H, S, D] and keys [B, K, S, D] of the source, values of x; clipped and normed.

        Norms that come after the rotation are left to the caller.
        """
        word = self.word
        q, k, v = self.q(source_BSN), self.k(source_BSN), self.v(x_BSN)
        if word.clip is not None:
            q, k, v = (x.clamp(-word.clip, word.clip) for x in (q, k, v))
        over_projection = getattr(word.qk_norm, "over", "head") == "projection"
        if over_projection:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = ops.split_heads(q, word.heads), ops.split_heads(k, word.kv_heads), ops.split_heads(v, word.kv_heads)
        is_normed = over_projection or self.norms_after_rotation
        return (q, k, v) if is_normed else (self.q_norm(q), self.k_norm(k), v)

    def rotate(self, x_BHSD: Tensor, inputs: LayerInputs) -> Tensor:
        """Return queries or keys rotated by their positions, if positions are rotary (Su et al. 2021, eq. 34)."""
        cos, sin = inputs.cos_BSR, inputs.sin_BSR
        if cos is None or sin is None:
            return x_BHSD
        if isinstance(self.position, words.BlockRope):
            halves = x_BHSD.chunk(2, dim=-1)
            rotated = [ops.rotary(half, cos[:, axis], sin[:, axis], False) for axis, half in enumerate(halves)]
            return torch.cat(rotated, dim=-1)
        interleaved = isinstance(self.position, words.Rope) and self.position.pairing == "interleaved"
        return ops.rotary(x_BHSD, cos, sin, interleaved)

    def score_bias(self, inputs: LayerInputs) -> Tensor | None:
        """Return the additive bias on scaled scores, [B, H, S, T], with size 1 on axes that it is constant on."""
        if self.relative_bias is not None:
            bias: Tensor = self.relative_bias(inputs.buckets_BST)
            return bias
        if isinstance(self.position, words.Alibi) and self.position.scaled and inputs.bias_BHST is not None:
            return inputs.bias_BHST * self.scale
        return inputs.bias_BHST
