"""Parameters of attention: grouped queries, latents, cross-attention, and what they select and mix."""

from __future__ import annotations

from archc.archspec import vocabulary as words
from archc.compiler.structure.part import Part, grouped_linear, linear, low_rank, norm, part, qk_norm


def attention(word: words.Attention, position: words.Position, width: int, inputs: int) -> Part:
    """Return attention over a residual stream and an input of those widths."""
    match word:
        case words.GroupedQueryAttention():
            return _grouped_queries(word, position, width, inputs)
        case words.LatentAttention():
            return _latent(word, width)


def cross_attention(word: words.CrossAttention, width: int, source_width: int) -> Part:
    """Return attention to a source, whose keys and values are computed once."""
    queries, keys = word.heads * word.head_dim, word.kv_heads * word.head_dim
    return part(
        q=linear(width, queries, word.bias.qkv),
        k=linear(source_width, keys, word.bias.on_keys).without_flops(),
        v=linear(source_width, keys, word.bias.qkv).without_flops(),
        o=linear(queries, width, word.bias.out),
        q_norm=qk_norm(word.qk_norm, word.heads, word.head_dim),
        k_norm=qk_norm(word.qk_norm, word.kv_heads, word.head_dim),
    )


def _grouped_queries(word: words.GroupedQueryAttention, position: words.Position, outer: int, width: int) -> Part:
    head_dim, groups, own = word.head_dim, word.groups, word.keys_values == "own"
    heads = word.heads if word.mixture is None else word.mixture.experts * word.kv_heads
    values = word.kv_heads * word.value_width
    outputs = heads * word.value_width * (1 if word.span_convolution is None else 2)
    latent, down = word.query_latent, word.output_latent
    queries = width if latent is None else latent.width
    gated = queries if word.gate is not None and word.gate.source == "queries" else width
    inner = outputs if down is None else down.groups * down.width
    buckets = position.buckets if isinstance(position, words.RelativeBuckets) else 0
    has_biases = isinstance(position, words.RelativeBuckets) and position.table == "per-layer"
    return part(
        {"sinks": (heads,) if word.sinks else None},
        dynamic_mask=part({"rate": (word.kv_heads,)}, projection=linear(values, word.kv_heads, word.dynamic_mask.bias))
        if word.dynamic_mask is not None
        else None,
        mixture=part(router=part(projection=linear(width, word.mixture.experts, False)))
        if word.mixture is not None
        else None,
        q_down=linear(width, latent.width, False) if latent is not None else None,
        q_down_norm=norm(latent.norm, latent.width) if latent is not None else None,
        q=grouped_linear(queries, heads * head_dim, word.bias.qkv, groups.q),
        k=grouped_linear(width, word.kv_heads * head_dim, word.bias.on_keys, groups.k) if own else None,
        v=grouped_linear(width, values, word.bias.qkv, groups.v) if own and word.values == "projection" else None,
        output_norm=norm(word.output_norm, outputs),
        o_down=grouped_linear(outputs, inner, False, down.groups) if down is not None else None,
        o=grouped_linear(inner, outer, word.bias.out, groups.o),
        adapter=part(
            q=low_rank(width, word.adapter.rank, heads * head_dim, False),
            k=low_rank(width, word.adapter.rank, word.kv_heads * head_dim, False),
            v=low_rank(width, word.adapter.rank, values, False),
        )
        if word.adapter is not None
        else None,
        filter=_localized_filter(word.filter, width) if word.filter is not None else None,
        relative_bias=part({"weight": (buckets, heads)}) if has_biases else None,
        disentangled=_disentangled(position, heads * head_dim, width),
        q_norm=qk_norm(word.qk_norm, heads, head_dim),
        k_norm=qk_norm(word.on_keys, word.kv_heads, head_dim) if own else None,
        v_norm=norm(word.value_norm, word.value_width),
        differential=_differential(word.differential, head_dim) if word.differential is not None else None,
        gate=_gate(word.gate, heads, word.value_width, gated),
        span_convolution=_span_convolution(word.span_convolution, heads, head_dim, width),
        convolution=part({"weight": (heads, word.convolution.kernel)}) if word.convolution is not None else None,
        query_scale=_learned_scale(word.query_scale, heads),
        indexer=_indexer(word.indexer, heads, width, queries),
        compressed=_compressed(word, width, queries),
    )


def _differential(word: words.DifferentialHeads, head_dim: int) -> Part:
    return part(dict.fromkeys(("q1", "k1", "q2", "k2"), (head_dim,)), norm=norm(word.norm, 2 * head_dim))


def _latent(word: words.LatentAttention, width: int) -> Part:
    key_dim = word.nope_dim + word.rope_dim
    rank, own = word.query_latent, word.latents_of is None
    queries = (rank or width) * (2 if word.queries == "both" else 1)
    gated = queries if word.gate is not None and word.gate.source == "queries" else width
    return part(
        {"sinks": (word.heads,) if word.sinks else None},
        q=linear(width, word.heads * key_dim, False) if rank is None else None,
        q_down=linear(width, rank, word.bias.down) if rank is not None else None,
        q_norm=norm(word.norm, rank) if rank is not None else None,
        q_up=linear(queries, word.heads * key_dim, False) if rank is not None else None,
        kv_down=linear(width, word.latent + word.rope_dim, word.bias.down) if own else None,
        kv_norm=norm(word.norm, word.latent) if own else None,
        k_rope_norm=norm(word.rope_norm, word.rope_dim) if own else None,
        k_up=linear(word.latent, word.heads * word.nope_dim, False),
        v_up=linear(word.latent, word.heads * word.value_dim, False),
        gate=_gate(word.gate, word.heads, word.value_dim, gated),
        query_scale=_learned_scale(word.query_scale, word.heads),
        indexer=_indexer(word.indexer, word.heads, width, rank or width),
        o=linear(word.heads * word.value_dim, width, word.bias.out),
    )


def _learned_scale(word: words.QueryScale | None, heads: int) -> Part | None:
    return part({"slope": (heads,), "offset": (heads,)}) if isinstance(word, words.LearnedLogScale) else None


def _gate(word: words.AttentionGate | None, heads: int, head_dim: int, width: int) -> Part | None:
    if word is None:
        return None
    outputs = heads if word.over == "heads" else heads * head_dim
    return part({"head_bias": (heads,) if word.head_bias else None}, projection=linear(width, outputs, word.bias))


def _indexer(word: words.Indexer | None, heads: int, width: int, query_width: int) -> Part | None:
    match word:
        case words.KeyIndexer():
            return part(
                q_input_norm=norm(word.query_norm, query_width),
                q=linear(query_width, word.heads * word.head_dim, False),
                k=linear(width, word.head_dim, False),
                k_norm=norm(word.norm, word.head_dim),
                weights=linear(width, word.heads, False),
                query_scale=_learned_scale(words.LearnedLogScale(), word.heads) if word.query_scale else None,
            )
        case words.PooledBlockIndexer():
            return part(
                q=linear(query_width, word.heads * word.head_dim, False),
                k=linear(width, word.head_dim, False),
                q_norm=norm(word.head_norm, word.head_dim),
                k_norm=norm(word.norm, word.head_dim),
                pool=_block_pool(word, width),
                weights=linear(width, word.heads, False) if word.head_weights else None,
            )
        case words.BlockIndexer():
            return part(
                q=linear(width, word.heads * word.head_dim, False),
                k=linear(width, word.head_dim, False),
                q_norm=norm(word.norm, word.head_dim),
                k_norm=norm(word.norm, word.head_dim),
            )
    return None


def _block_pool(word: words.PooledBlockIndexer, width: int) -> Part | None:
    if isinstance(word.pool, words.MeanBlockPool):
        return None
    return part({"bias": (word.block, word.head_dim)}, projection=linear(width, word.head_dim, False))


def _compressed(attention: words.GroupedQueryAttention, width: int, queries: int) -> Part | None:
    """Return what makes compressed keys and selects among them."""
    word = attention.compression
    if word is None:
        return None

    def compressor(heads: int, head_dim: int, normed: words.Norm) -> Part:
        inner = heads * head_dim * (2 if word.overlap else 1)
        return part(
            {"bias": (word.block, inner)},
            key=linear(width, inner, False),
            gate=linear(width, inner, False),
            norm=norm(normed, head_dim),
        )

    indexer = None
    if word.indexer is not None:
        indexer = part(
            q=linear(queries, word.indexer.heads * word.indexer.head_dim, False),
            weights=linear(width, word.indexer.heads, False),
            compressor=compressor(1, word.indexer.head_dim, word.indexer.norm),
        )
    return part(compressor=compressor(attention.kv_heads, attention.head_dim, word.norm), indexer=indexer)


def _localized_filter(word: words.LocalizedFilter, width: int) -> Part:
    def two_taps(inputs: int, outputs: int) -> Part:
        return part(previous=linear(inputs, outputs, False), current=linear(inputs, outputs, True))

    return part(first=two_taps(width, word.width), second=two_taps(word.width, width), norm=norm(word.norm, width))


def _disentangled(position: words.Position, inner: int, width: int) -> Part | None:
    if not isinstance(position, words.Disentangled):
        return None
    own = position.projections == "own"
    return part(
        k=linear(width, inner, position.bias.keys) if own and position.keys else None,
        q=linear(width, inner, position.bias.queries) if own and position.queries else None,
    )


def _span_convolution(word: words.SpanConvolution | None, heads: int, head_dim: int, width: int) -> Part | None:
    if word is None:
        return None
    inner = heads * head_dim
    return part(
        {"depthwise": (width, word.kernel)},
        pointwise=linear(width, inner, True),
        kernel=linear(inner, heads * word.kernel, True),
        v=linear(width, inner, True),
    )
