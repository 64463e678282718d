"""Token mixers as blocks: attention of each kind, and recurrences."""

from __future__ import annotations

from archc.archspec import vocabulary as words
from archc.draw.describe.blocks import Block, Formula, Heads, Pair, Row, Step
from archc.draw.describe.words import activation_name, bias_note, norm_name, position_tags, real, whole


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
    heads, kv, dim = attention.heads, attention.kv_heads, attention.head_dim
    tags += [f"window {whole(attention.window)}"] if attention.window is not None else []
    tags += ["sinks"] if attention.sinks else []
    tags += _score_tags(attention)
    tags += _gate_tags(attention.gate) + _query_scale_tags(attention.query_scale)
    if not isinstance(attention.value_norm, words.NoNorm):
        tags.append(f"V: {norm_name(attention.value_norm)}")
    own = attention.keys_values == "own"
    if not own:
        keys, tags = "", [*tags, "keys and values of an earlier layer"]
    elif attention.values == "keys":
        keys, tags = f" · k → {whole(kv * dim)}", [*tags, "values = keys"]
    else:
        keys = f" · k, v → {whole(kv * dim)}"
    rows: list[Row] = [Step(f"q → {whole(heads * dim)}{keys}")]
    if attention.filter is not None:
        rows.insert(0, Step(f"two convolutions of 2 taps via {whole(attention.filter.width)}, for q and k"))
    rows += [Heads(heads, kv), Step(f"out {whole(heads * dim)} → {whole(width)}")]
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
    bias = bias_note(attention.bias.qkv, attention.bias.out)
    tags += [bias] if bias else []
    tags += [f"scores × {real(attention.scale)}"] if attention.scale is not None else []
    tags += [f"softcap {real(attention.softcap)}"] if attention.softcap is not None else []
    return tags + ([f"clip ±{real(attention.clip)}"] if attention.clip is not None else [])


def _gate_tags(gate: words.AttentionGate | None) -> list[str]:
    if gate is None:
        return []
    return [f"{gate.activation} gate per {'head' if gate.over == 'heads' else 'channel'}"]


def _query_scale_tags(scale: words.QueryScale | None) -> list[str]:
    return [] if scale is None else ["query scale by log position"]


def _latent(attention: words.LatentAttention, width: int, tags: list[str], rotates: bool) -> Block:
    heads, nope, rope, value = attention.heads, attention.nope_dim, attention.rope_dim, attention.value_dim
    queries = f"q → {heads} × {nope + rope}"
    keys = f"k, v → {heads} × {nope}" if nope == value else f"k → {heads} × {nope} · v → {heads} × {value}"
    latent = f"KV latent {whole(attention.latent)} + {rope}"
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
    tags += [f"head: {nope} + {rope}{' rotating' * rotates}"]
    both = bias_note(attention.bias.down, attention.bias.out)
    tags += [both.replace("q, k, v", "latents")] if both else []
    tags += [f"scores × {real(attention.scale)}"] if attention.scale is not None else []
    tags += _gate_tags(attention.gate) + _query_scale_tags(attention.query_scale)
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


def recurrence_block(word: words.Recurrence, width: int) -> Block:
    """Return the block of a recurrent token mixer."""
    match word:
        case words.DecayedAverage():
            return _decayed_average(word, width)
        case words.LinearAttention():
            return _linear_attention(word, width)
        case words.DeltaRule():
            return _delta_rule(word, width)
        case words.SelectiveScan():
            return _selective_scan(word, width)
        case words.MatrixState():
            return _matrix_state(word, width)
        case words.ShortConvolution():
            return _short_convolution(word, width)


def _block(title: str, note: str, rows: list[Row], tags: list[str]) -> Block:
    return Block("recurrence", "recurrent", title, note, tuple(rows), tuple(tags))


def _decayed_average(word: words.DecayedAverage, width: int) -> Block:
    rows: list[Row] = [
        Step("token shift: blend with the last input", loops=True),
        Step(f"r, k, v → {whole(word.width)}"),
        Step(f"decayed sums of {whole(word.width)} channels", loops=True),
        Formula("sigmoid(r) ⊙ average"),
        Step(f"out {whole(word.width)} → {whole(width)}"),
    ]
    return _block("Decayed average", "WKV", rows, ["decay per channel", "bonus for the current token"])


def _linear_attention(word: words.LinearAttention, width: int) -> Block:
    channels = word.heads * word.head_dim
    dynamic = isinstance(word.shift, words.DynamicShift)
    shift = f"dynamic token shift, rank {word.shift.rank}" if dynamic else "token shift: blend with the last input"  # type: ignore[union-attr]
    rows: list[Row] = [
        Step(shift, loops=True),
        Step(f"r, k, v, g → {whole(channels)}"),
        Step(f"S: {word.heads} × ({word.head_dim} × {word.head_dim})", loops=True),
        Formula("norm by head ⊙ SiLU(g)"),
        Step(f"out {whole(channels)} → {whole(width)}"),
    ]
    decay = f"decay of rank {word.decay.rank}" if isinstance(word.decay, words.LowRankDecay) else "learned decay"
    return _block("Linear attention", f"{word.heads} heads × {word.head_dim}", rows, [decay, "bonus"])


def _delta_rule(word: words.DeltaRule, width: int) -> Block:
    channels = word.heads * word.head_dim
    rows: list[Row] = [
        Step("token shift: blend with the last input", loops=True),
        Step(f"r, k, v → {whole(channels)}"),
        Step(f"S: {word.heads} × ({word.head_dim} × {word.head_dim})", loops=True),
        Formula("norm by head ⊙ gate"),
        Step(f"out {whole(channels)} → {whole(width)}"),
    ]
    ranks = [f"decay rank {word.decay_rank}", f"rate rank {word.rate_rank}", f"gate rank {word.gate_rank}"]
    residual = word.value_residual
    if residual is not None:
        ranks.append(
            "source of values" if isinstance(residual, words.ValueSource) else f"value mix rank {residual.rank}"
        )
    return _block("Delta rule", f"{word.heads} heads × {word.head_dim}", rows, ranks)


def _selective_scan(word: words.SelectiveScan, width: int) -> Block:
    activation = activation_name(word.activation)
    rows: list[Row] = [
        Pair(f"x → {whole(word.width)}", f"gate → {whole(word.width)}"),
        Step(f"convolution of {word.kernel} taps, {activation}", loops=True),
        Step(f"h: {word.state} × {whole(word.width)}, by Δ, B, C", loops=True),
        Formula(f"(C h + D x) ⊙ {activation}(gate)"),
        Step(f"out {whole(word.width)} → {whole(width)}"),
    ]
    tags = [f"Δ rank {word.step_rank}", *(["bias"] if word.bias else [])]
    tags += [] if isinstance(word.inner_norm, words.NoNorm) else [f"{norm_name(word.inner_norm)} on Δ, B, C"]
    return _block("Selective scan", f"state {word.state}, SSM", rows, tags)


def _matrix_state(word: words.MatrixState, width: int) -> Block:
    steps = isinstance(word.decay, words.StepDecay)
    channels = getattr(word.decay, "over", "heads") == "channels"
    title = "Gated delta rule" if word.update == "delta" else "State space" if steps else "Linear attention"
    rows: list[Row] = [Step(f"q, k → {whole(word.keys)} · v → {whole(word.values)}")]
    if word.convolution is not None:
        rows.append(Step(f"convolution of {word.convolution.kernel} taps{_then(word.activation)}", loops=True))
    elif word.activation is not None:
        rows.append(Formula(activation_name(word.activation)))
    rows.append(Step(f"S: {word.heads} × ({word.key_dim} × {word.value_dim})", loops=True))
    after = [] if isinstance(word.norm, words.NoNorm) else [norm_name(word.norm)]
    if word.gate is not None:
        gate = f"{activation_name(word.gate.activation)} gate"
        after = [gate, *after] if word.gate.order == "before" else [*after, gate]
    rows += [Formula(", ".join(after))] if after else []
    rows.append(Step(f"out {whole(word.values)} → {whole(width)}"))
    keys = word.key_heads or word.heads
    note = f"{word.heads} heads" if keys == word.heads else f"{word.heads} V, {keys} QK heads"
    return _block(title, note, rows, _matrix_tags(word, channels))


def _matrix_tags(word: words.MatrixState, channels: bool) -> list[str]:
    decay = word.decay
    if isinstance(decay, words.FixedDecay):
        tags = [f"fixed decay × {real(decay.factor)}"]
    else:
        tags = [f"decay per {'channel' if channels else 'head'}"]
        tags[0] += f", rank {decay.rank}" if decay.rank is not None else ""
        tags += ["bounded decay"] if isinstance(decay, words.BoundedDecay) else []
        tags += ["values × Δ"] if isinstance(decay, words.StepDecay) and decay.scales_values else []
    tags += [f"rate × {real(word.rate_scale)}"] if word.rate_scale != 1 else []
    tags += [] if isinstance(word.qk_norm, words.NoNorm) else [f"QK: {norm_name(word.qk_norm)}"]
    tags += [f"gate rank {word.gate.rank}"] if word.gate is not None and word.gate.rank is not None else []
    return tags + (["skip D ⊙ v"] if word.skip else []) + (["bias"] if word.bias else [])


def _short_convolution(word: words.ShortConvolution, width: int) -> Block:
    rows: list[Row] = [
        Step(f"b, c, x → {whole(word.width)}"),
        Formula("b ⊙ x"),
        Step(f"convolution of {word.convolution.kernel} taps", loops=True),
        Formula("c ⊙ result"),
        Step(f"out {whole(word.width)} → {whole(width)}"),
    ]
    return _block("Short convolution", "gated", rows, ["bias"] if word.bias else [])


def _then(activation: str | None) -> str:
    return f", {activation_name(activation)}" if activation is not None else ""
