"""Softmax attention with grouped queries over a cache or over the call's own keys.

Shape suffixes as in `archc.compiler.ops.operators`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.contract.state import State
from archc.compiler.modules.attention.relative_bias import BiasTable
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.modules.basic.norm import make_qk_norm
from archc.compiler.modules.layer_inputs import Signals
from archc.compiler.modules.recurrent.convolution import LocalizedFilter
from archc.compiler.ops import operators as ops


class Attention(nn.Module):
    """Grouped-query attention (Ainslie et al. 2023) with rotary positions or an additive bias where given."""

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
        self.sinks = nn.Parameter(torch.empty(word.heads, dtype=dtype)) if word.sinks else None

    def forward(self, x_BSN: Tensor, signals: Signals, state: State) -> tuple[Tensor, dict[str, Tensor]]:
        """[B, S, N] → [B, S, N], and the state after it, for a state that is not empty."""
        assert signals.mask_B1ST is not None
        source_BSN, present = x_BSN, dict[str, Tensor]()
        if self.filter is not None:
            source_BSN, present = self.filter(x_BSN, state, signals.lengths_B)
        q, k, v = self.project(source_BSN, x_BSN)
        q, k = self.rotate(q, signals), self.rotate(k, signals)
        if "key" in state:
            present["key"] = ops.update_cache(state["key"], k, signals.write_indices_B)
            present["value"] = ops.update_cache(state["value"], v, signals.write_indices_B)
            k, v = present["key"], present["value"]
        if signals.logn_B1S1 is not None:
            q = q * signals.logn_B1S1
        bias, softcap = self.score_bias(signals), self.word.softcap
        y_BHSD = ops.attention(q, k, v, signals.mask_B1ST, bias, self.scale, softcap or 0.0, self.sinks, "key" in state)
        return self.o(ops.merge_heads(y_BHSD)), present

    def project(self, source_BSN: Tensor, x_BSN: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [B, H, S, D] and keys [B, K, S, D] of the source, values of x, clipped and normed as specified."""
        word = self.word
        q, k, v = self.q(source_BSN), self.k(source_BSN), self.v(x_BSN)
        if word.clip is not None:
            q, k, v = (x.clamp(-word.clip, word.clip) for x in (q, k, v))
        whole = getattr(word.qk_norm, "over", "head") == "projection"
        if whole:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = ops.split_heads(q, word.heads), ops.split_heads(k, word.kv_heads), ops.split_heads(v, word.kv_heads)
        return (q, k, v) if whole else (self.q_norm(q), self.k_norm(k), v)

    def rotate(self, x_BHSD: Tensor, signals: Signals) -> Tensor:
        """Queries or keys turned by their positions, where positions are rotary."""
        cos, sin = signals.cos_BSR, signals.sin_BSR
        if cos is None or sin is None:
            return x_BHSD
        if isinstance(self.position, words.BlockRope):
            halves = x_BHSD.chunk(2, dim=-1)
            turned = [ops.rotary(half, cos[:, axis], sin[:, axis], False) for axis, half in enumerate(halves)]
            return torch.cat(turned, dim=-1)
        interleaved = isinstance(self.position, words.Rope) and self.position.pairing == "interleaved"
        return ops.rotary(x_BHSD, cos, sin, interleaved)

    def score_bias(self, signals: Signals) -> Tensor | None:
        """The additive bias on scaled scores [B, H, S, T], sizes of 1 where it does not depend on the axis."""
        if self.relative_bias is not None:
            bias: Tensor = self.relative_bias(signals.buckets_BST)
            return bias
        if isinstance(self.position, words.Alibi) and self.position.scaled and signals.bias_BHST is not None:
            return signals.bias_BHST * self.scale
        return signals.bias_BHST
