"""Attention of each kind as blocks, and mixers without weights."""

from __future__ import annotations

from dataclasses import replace

from archc.archspec import vocabulary as words
from archc.draw.describe.blocks import Block, Formula, Heads, Row, Step
from archc.draw.describe.recurrences import recurrence_block
from archc.draw.describe.words import bias_tags, further_tags, norm_name, position_tags, real, whole

# The keys that have texts of their own.
_GROUPED = (
    "heads kv_heads head_dim bias scale qk_norm clip softcap gate query_scale indexer sinks filter values value_norm "
    "keys_values window chunked value_dim value_scale differential output_norm query_latent output_latent"
)
_LATENT = "heads latent query_latent nope_dim rope_dim value_dim norm bias scale gate query_scale indexer"


def mixer_block(layer: words.Layer, width: int, adds_positions: bool, causal: bool) -> Block | None:
    """Return the block of a layer's mixer, or of attention and a recurrence next to each other; None without one."""
    recurrent = recurrence_block(layer.recurrence, width) if layer.recurrence is not None else None
    if layer.attention is None:
        return recurrent if layer.mixing is None else mixing_block(layer.mixing, width)
    attention = attention_block(layer, width, adds_positions, causal)
    if recurrent is None:
        return attention
    rows = (*attention.rows, Formula(f"+ {recurrent.title.lower()} of the same input"), *recurrent.rows)
    return replace(attention, rows=rows, tags=(*attention.tags, *recurrent.tags))


def attention_block(layer: words.Layer, width: int, adds_positions: bool, causal: bool) -> Block:
    """Return the block of a layer's attention; `adds_positions` if the embedding contains positions."""
    attention = layer.attention
    assert attention is not None
    tags = [*position_tags(layer.position, adds_positions)]
    tags += [] if causal else ["bidirectional"]
    if isinstance(attention, words.LatentAttention):
        return _latent(attention, width, tags, rotates=isinstance(layer.position, words.Rope))
    return _grouped(attention, width, tags)


def _grouped(attention: words.GroupedQueryAttention, width: int, tags: list[str]) -> Block:
    heads, kv, dim, value = attention.heads, attention.kv_heads, attention.head_dim, attention.value_width
    if attention.window is not None:
        tags.append(f"window {whole(attention.window)}" + (", as chunks" if attention.chunked else ""))
    tags += ["sinks"] if attention.sinks else []
    tags += _score_tags(attention)
    tags += _gate_tags(attention.gate) + _query_scale_tags(attention.query_scale) + _indexer_tags(attention.indexer)
    tags += further_tags(attention, _GROUPED)
    if not isinstance(attention.value_norm, words.NoNorm):
        tags.append(f"V: {norm_name(attention.value_norm)}")
    tags += [f"V × {real(attention.value_scale)}"] if attention.value_scale is not None else []
    own = attention.keys_values == "own"
    if not own:
        keys, tags = "", [*tags, "keys and values of an earlier layer"]
    elif attention.values != "projection":
        keys, tags = f" · k → {whole(kv * dim)}", [*tags, f"values = {attention.values.replace('-', ' ')}"]
    else:
        same = value == dim
        keys = f" · k, v → {whole(kv * dim)}" if same else f" · k → {whole(kv * dim)} · v → {whole(kv * value)}"
    rows: list[Row] = [Step(f"q → {whole(heads * dim)}{keys}")]
    if attention.query_latent is not None:
        latent = attention.query_latent
        rows.insert(0, Step(f"q latent → {whole(latent.width)} · {norm_name(latent.norm)}"))
    if attention.filter is not None:
        rows.insert(0, Step(f"two convolutions of 2 taps via {whole(attention.filter.width)}, for q and k"))
    rows.append(Heads(heads, kv))
    if attention.differential is not None:
        rows.append(Formula("halves of the heads: y₁ − λ · y₂"))
        rows.append(Formula(norm_name(attention.differential.norm)))
        tags.append(f"λ from {real(attention.differential.init)}")
    if not isinstance(attention.output_norm, words.NoNorm):
        rows.append(Formula(f"{norm_name(attention.output_norm)} on the output of all heads"))
    # Heads of a convolution stand next to those of attention.
    outputs = heads * value * (2 if attention.span_convolution is not None else 1)
    if attention.output_latent is not None:
        down = attention.output_latent
        rows.append(Step(f"out {whole(outputs)} → {down.groups} × {whole(down.width)}, by groups of heads"))
        outputs = down.groups * down.width
    rows.append(Step(f"out {whole(outputs)} → {whole(width)}"))
    return Block("attention", "attention", "Attention", _heads_note(heads, kv, dim), tuple(rows), tuple(tags))


def _heads_note(heads: int, kv: int, dim: int) -> str:
    if heads == kv:
        return f"{heads} heads × {dim}"
    return f"{heads} Q, {kv} KV head{'s' * (kv > 1)} × {dim}"


def _score_tags(attention: words.GroupedQueryAttention | words.CrossAttention) -> list[str]:
    tags = []
    norm = attention.qk_norm
    if not isinstance(norm, words.NoNorm):
        over = (
            ", whole projection" if norm.over == "projection" else ", per-head weights" * (norm.weights == "per-head")
        )
        tags.append(f"QK: {norm_name(norm)}{over}" + (", after RoPE" if norm.order == "after" else ""))
    bias = attention.bias
    tags += bias_tags({"q": bias.qkv, "k": bias.on_keys, "v": bias.qkv, "out": bias.out})
    tags += [f"scores × {real(attention.scale)}"] if attention.scale is not None else []
    tags += [f"softcap {real(attention.softcap)}"] if attention.softcap is not None else []
    return tags + ([f"clip ±{real(attention.clip)}"] if attention.clip is not None else [])


def _gate_tags(gate: words.AttentionGate | None) -> list[str]:
    if gate is None:
        return []
    return [f"{gate.activation} gate per {'head' if gate.over == 'heads' else 'channel'}"]


def _query_scale_tags(scale: words.QueryScale | None) -> list[str]:
    if scale is None:
        return []
    return ["query scale by a power of the position" if scale.kind == "power" else "query scale by log position"]


def _indexer_tags(indexer: words.Indexer | None) -> list[str]:
    match indexer:
        case None:
            return []
        case words.KeyIndexer():
            return [f"top {whole(indexer.keys)} keys", f"indexer: {indexer.heads} heads × {indexer.head_dim}"]
        case words.BlockIndexer() | words.PooledBlockIndexer():
            last = " and the rest" if isinstance(indexer, words.PooledBlockIndexer) else ""
            selected = f"top {whole(indexer.blocks)} blocks of {whole(indexer.block)} keys{last}"
            return [selected, f"indexer: {indexer.heads} heads × {indexer.head_dim}"]
        case words.EarlierIndexer():
            return ["keys of an earlier indexer"]


def _latent(attention: words.LatentAttention, width: int, tags: list[str], rotates: bool) -> Block:
    heads, nope, rope, value = attention.heads, attention.nope_dim, attention.rope_dim, attention.value_dim
    queries = f"q → {heads} × {nope + rope}"
    keys = f"k, v → {heads} × {nope}" if nope == value else f"k → {heads} × {nope} · v → {heads} × {value}"
    latent = f"KV latent {whole(attention.latent)}" + f" + {rope}" * bool(rope)
    if attention.query_latent is None:
        first, last = f"{queries} · {latent}", keys
    else:
        first, last = f"q latent {whole(attention.query_latent)} · {latent}", f"{queries} · {keys}"
    rows: list[Row] = [
        Step(first),
        Formula(f"{norm_name(attention.norm)} on the latent{'s' * (attention.query_latent is not None)}"),
        Step(last),
        Heads(heads, 1, (attention.latent, rope)),
        Step(f"out {whole(heads * value)} → {whole(width)}"),
    ]
    tags += [f"head: {nope} + {rope}{' rotating' * rotates}" if rope else f"head: {nope}"]
    tags += bias_tags({"latents": attention.bias.down, "out": attention.bias.out})
    tags += [f"scores × {real(attention.scale)}"] if attention.scale is not None else []
    tags += _gate_tags(attention.gate) + _query_scale_tags(attention.query_scale) + _indexer_tags(attention.indexer)
    tags += further_tags(attention, _LATENT)
    return Block("attention", "attention", "Latent attention", f"{heads} heads, one latent", tuple(rows), tuple(tags))


def cross_block(cross: words.CrossAttention, width: int) -> Block:
    """Return the block of attention to the encoder's output."""
    heads, kv, dim = cross.heads, cross.kv_heads, cross.head_dim
    rows: tuple[Row, ...] = (
        Step(f"q → {whole(heads * dim)} · source k, v → {whole(kv * dim)}"),
        Heads(heads, kv),
        Step(f"out {whole(heads * dim)} → {whole(width)}"),
    )
    note = _heads_note(heads, kv, dim)
    return Block("cross_attention", "cross", "Cross-attention", note, rows, tuple(_score_tags(cross)))


def mixing_block(mixing: words.Mixing, width: int) -> Block:
    """Return the block of a mixer without a state."""
    if isinstance(mixing, words.LinearMixing):
        return Block("mixing", "mixing", "Linear", "one matrix", (Step(f"{whole(width)} → {whole(width)}"),))
    row = Formula("real part of an FFT over tokens, channels")
    return Block("mixing", "mixing", "Fourier mixing", "no weights", (row,))
