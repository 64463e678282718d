"""Softmax attention with grouped queries, over a KV cache or over the keys of the call.

Shape suffixes as in `archc.compiler.ops.operators`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.contract.cross_layer import KEY, VALUE
from archc.compiler.contract.state import MASK_BIAS, State
from archc.compiler.modules.attention.compression import CompressedKeys
from archc.compiler.modules.attention.differential import DifferentialHeads
from archc.compiler.modules.attention.dynamic_mask import DynamicMask
from archc.compiler.modules.attention.gate import Gate
from archc.compiler.modules.attention.head_mixture import HeadMixture
from archc.compiler.modules.attention.indexer import make_indexer, select
from archc.compiler.modules.attention.localized_filter import LocalizedFilter
from archc.compiler.modules.attention.relative_bias import BiasTable
from archc.compiler.modules.attention.relative_table import DisentangledBias
from archc.compiler.modules.attention.span_convolution import SpanConvolution
from archc.compiler.modules.attention.value_convolution import ValueConvolution
from archc.compiler.modules.basic.linear import Linear, make_linear, scaled
from archc.compiler.modules.basic.low_rank import LowRank
from archc.compiler.modules.basic.norm import make_norm, make_qk_norm
from archc.compiler.modules.layer_inputs import LayerInputs
from archc.compiler.modules.position.query_scale import make_learned_scale
from archc.compiler.ops import operators as ops
from archc.compiler.ops.key_blocks import joint_attention


class Attention(nn.Module):
    """Grouped-query attention (Vaswani et al. 2017; Ainslie et al. 2023), with rotary positions or a bias on scores."""

    def __init__(
        self,
        word: words.GroupedQueryAttention,
        position: words.Position,
        width: int,
        dtype: torch.dtype,
        inputs: int | None = None,
    ) -> None:
        super().__init__()
        outer, width = width, inputs or width
        self.word, self.position = word, position
        self.scale = word.scale if word.scale is not None else 1.0 / math.sqrt(word.head_dim)
        keys, values = word.kv_heads * word.head_dim, word.kv_heads * word.value_width
        groups, self.own = word.groups, word.keys_values == "own"
        latent = word.query_latent
        self.q_down = Linear(width, latent.width, False, dtype) if latent is not None else None
        self.q_down_norm = make_norm(latent.norm, latent.width, dtype) if latent is not None else None
        queries = width if latent is None else latent.width
        q_heads = word.heads if word.mixture is None else word.mixture.experts * word.kv_heads
        dynamic = word.dynamic_mask
        self.dynamic_mask = DynamicMask(dynamic, word, dtype) if dynamic is not None else None
        self.mixture = HeadMixture(word, width) if word.mixture is not None else None
        self.q = make_linear(queries, q_heads * word.head_dim, word.bias.qkv, groups.q, dtype)
        self.k = make_linear(width, keys, word.bias.on_keys, groups.k, dtype) if self.own else None
        has_values = self.own and word.values == "projection"
        self.v = make_linear(width, values, word.bias.qkv, groups.v, dtype) if has_values else None
        outputs = q_heads * word.value_width * (1 if word.span_convolution is None else 2)
        self.output_norm = make_norm(word.output_norm, outputs, dtype)
        down = word.output_latent
        inner = outputs if down is None else down.groups * down.width
        self.o_down = make_linear(outputs, inner, False, down.groups, dtype) if down is not None else nn.Identity()
        self.o = make_linear(inner, outer, word.bias.out, groups.o, dtype)
        self.adapter = nn.ModuleDict()
        if word.adapter is not None:
            for name, size in (("q", word.heads * word.head_dim), ("k", keys), ("v", values)):
                self.adapter[name] = LowRank(width, word.adapter.rank, size, False, dtype)
        self.filter = LocalizedFilter(word.filter, width, dtype) if word.filter is not None else None
        buckets = isinstance(position, words.RelativeBuckets) and position.table == "per-layer"
        self.relative_bias = BiasTable(position.buckets, word.heads, dtype) if buckets else None  # type: ignore[union-attr]
        self.disentangled = (
            DisentangledBias(position, word.heads, word.head_dim, width, dtype)
            if isinstance(position, words.Disentangled)
            else None
        )
        self.q_norm = make_qk_norm(word.qk_norm, word.heads, word.head_dim, dtype)
        self.k_norm = make_qk_norm(word.on_keys, word.kv_heads, word.head_dim, dtype) if self.own else None
        self.v_norm = make_norm(word.value_norm, word.value_width, dtype)
        pairs = word.differential
        self.differential = DifferentialHeads(pairs, word.head_dim, dtype) if pairs is not None else None
        gated = queries if word.gate is not None and word.gate.source == "queries" else width
        self.gate = Gate(word.gate, word.heads, word.value_width, gated, dtype) if word.gate is not None else None
        spans = word.span_convolution
        self.span_convolution = (
            SpanConvolution(spans.kernel, word.heads, word.head_dim, width, dtype) if spans is not None else None
        )
        convolution = word.convolution
        self.convolution = ValueConvolution(convolution.kernel, word.heads, dtype) if convolution is not None else None
        self.query_scale = make_learned_scale(word.query_scale, word.heads, dtype)
        self.indexer = make_indexer(word.indexer, word.heads, width, queries, dtype)
        compresses = word.compression is not None
        self.compressed = CompressedKeys(word, position, width, dtype) if compresses else None
        self.sinks = nn.Parameter(torch.empty(word.heads, dtype=dtype)) if word.sinks else None

    def forward(self, x_BSN: Tensor, inputs: LayerInputs, state: State) -> tuple[Tensor, dict[str, Tensor]]:
        """[B, S, N] → [B, S, N], and the keys and values of the layer's own: with a state, the new state."""
        x_BSN = scaled(x_BSN, self.word.input_scale)
        source_BSN = x_BSN
        filter_state: dict[str, Tensor] = {}
        if self.filter is not None:
            source_BSN, filter_state = self.filter(x_BSN, state, inputs.lengths_B)
        latent_BSQ = source_BSN
        if self.q_down is not None and self.q_down_norm is not None:
            latent_BSQ = self.q_down_norm(self.q_down(source_BSN))
        mask, present = select(self.indexer, x_BSN, x_BSN if self.q_down is None else latent_BSQ, inputs, state)
        present |= filter_state
        query_BSM = self.project("q", self.q, latent_BSQ)
        if self.mixture is not None:
            places, weights = self.mixture.select(x_BSN)
            query_BSM = self.mixture.queries(query_BSM, places)
        q = self.normed_heads(query_BSM, self.q_norm, self.word.qk_norm, self.word.heads, inputs)
        if self.own:
            present |= self.keys_values(source_BSN, x_BSN, inputs, state)
        source = present if self.own else inputs.cross_layer
        k = source[KEY]
        v = k if self.word.values == "rotated-keys" else source[VALUE]
        if (scale := inputs.query_scale_B1S1) is not None:
            q = q * (scale if self.query_scale is None else self.query_scale(scale))
        bias, softcap, is_cached = self.score_bias(inputs, q, k), self.word.softcap, inputs.write_indices_B is not None
        if self.dynamic_mask is not None:
            bias = self.dynamic_mask.biases(present[MASK_BIAS], mask)
            mask = self.dynamic_mask.select(q, bias, mask)
        if self.compressed is None:
            y_BHSD = ops.attention(q, k, v, mask, bias, self.scale, softcap or 0.0, self.sinks, is_cached)
        else:
            keys, blocks, compressed = self.compressed(x_BSN, latent_BSQ, inputs, state)
            present |= compressed
            y_BHSD = joint_attention(q, k, mask, keys, blocks, self.scale, self.sinks, is_cached)
        if self.differential is not None:
            y_BHSD = self.differential(y_BHSD)
        if self.word.values == "rotated-keys":
            y_BHSD = self.rotate(y_BHSD, inputs.backward)
        if self.convolution is not None:
            y_BHSD = y_BHSD + self.convolution(v, inputs.real_BS1)
        if self.gate is not None:
            y_BHSD = self.gate(latent_BSQ if self.gate.word.source == "queries" else x_BSN, y_BHSD)
        if self.span_convolution is not None:
            y_BHSD = torch.cat((y_BHSD, self.span_convolution(x_BSN, query_BSM, inputs.real_BS1)), dim=1)
        y_BSM = ops.merge_heads(y_BHSD)
        if self.mixture is not None:
            y_BSM = self.mixture.outputs(y_BSM, places, weights)
        return scaled(self.o(self.o_down(self.output_norm(y_BSM))), self.word.output_scale), present

    def project(self, name: str, projection: nn.Module, x_BSM: Tensor) -> Tensor:
        """Return a projection to queries, keys or values, [B, S, heads · D], with its adapter's term."""
        y: Tensor = projection(x_BSM)
        return y + self.adapter[name](x_BSM) if name in self.adapter else y

    def keys_values(self, source_BSN: Tensor, x_BSN: Tensor, inputs: LayerInputs, state: State) -> dict[str, Tensor]:
        """Return keys of the source and values of x, [B, K, S, D]; with a state, the caches they are in.

        Values that are the rotated keys are left out.
        """
        word = self.word
        assert self.k is not None
        assert self.k_norm is not None
        key = self.project("k", self.k, source_BSN)
        new = {KEY: self.normed_heads(key, self.k_norm, word.on_keys, word.kv_heads, inputs)}
        if word.values != "rotated-keys":
            value = self.clip(self.project("v", self.v, x_BSN) if self.v is not None else key)
            v = scaled(self.v_norm(ops.split_heads(value, word.kv_heads)), word.value_scale)
            new[VALUE] = v if self.differential is None else self.differential.pair(v)
            if self.dynamic_mask is not None:
                # Of the projection: TensorRT for RTX 1.7 fails on heads of values that are merged again.
                new[MASK_BIAS] = self.dynamic_mask(value)
        if KEY not in state:
            return new
        return {name: ops.update_cache(state[name], x, inputs.write_indices_B) for name, x in new.items()}

    def normed_heads(
        self, x_BSM: Tensor, norm: nn.Module, word: words.QkNorm, heads: int, inputs: LayerInputs
    ) -> Tensor:
        """Return a projection to queries or keys as heads [B, H, S, D], clipped, normed and rotated."""
        x_BSM = self.clip(x_BSM)
        if getattr(word, "over", "head") == "projection":
            return self.rotate(ops.split_heads(norm(x_BSM), heads), inputs)
        x_BHSD = ops.split_heads(x_BSM, heads)
        if getattr(word, "order", "before") == "after":
            normed: Tensor = norm(self.rotate(x_BHSD, inputs))
            return normed
        return self.rotate(norm(x_BHSD), inputs)

    def clip(self, x_BSM: Tensor) -> Tensor:
        """Return a projection clamped to ±clip, if the word has one (MPT, OLMo)."""
        return x_BSM if self.word.clip is None else x_BSM.clamp(-self.word.clip, self.word.clip)

    def rotate(self, x_BHSD: Tensor, inputs: LayerInputs) -> Tensor:
        """Return queries or keys rotated by their positions, if positions are rotary (Su et al. 2021, eq. 34)."""
        cos, sin = inputs.cos_BSR, inputs.sin_BSR
        if isinstance(self.position, words.BlockRope) and cos is not None and sin is not None:
            halves = x_BHSD.chunk(2, dim=-1)
            rotated = [ops.rotary(half, cos[:, axis], sin[:, axis], False) for axis, half in enumerate(halves)]
            return torch.cat(rotated, dim=-1)
        return inputs.rotate(x_BHSD, isinstance(self.position, words.Rope) and self.position.pairing == "interleaved")

    def score_bias(self, inputs: LayerInputs, q_BHSD: Tensor, k_BHTD: Tensor) -> Tensor | None:
        """Return the additive bias on scaled scores, [B, H, S, T], with size 1 on axes that it is constant on."""
        if self.disentangled is not None:
            table, rows = inputs.relative_1RN, inputs.buckets_BST
            return self.disentangled(q_BHSD, k_BHTD, table, rows, self.q, self.k) * self.scale
        if self.relative_bias is not None:
            bias: Tensor = self.relative_bias(inputs.buckets_BST)
            return bias
        if isinstance(self.position, words.Alibi) and self.position.scaled and inputs.bias_BHST is not None:
            return inputs.bias_BHST * self.scale
        return inputs.bias_BHST
