"""Recurrent token mixers as blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from archc.archspec import vocabulary as words
from archc.draw.describe.blocks import Block, Formula, Pair, Row, Step
from archc.draw.describe.words import activation_name, further_tags, norm_name, real, whole


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
    heads = [f"{word.heads} heads"] if word.heads > 1 else []
    tags = [f"Δ rank {word.step_rank}", *heads, *(["bias"] if word.bias else [])]
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


def _rg_lru(word: words.RgLru, width: int) -> Block:
    rows: list[Row] = [
        Pair(f"x → {whole(word.width)}", f"gate → {whole(word.width)}"),
        Step(f"convolution of {word.convolution.kernel} taps", loops=True),
        Step(f"h: {whole(word.width)} channels", loops=True),
        Formula(f"h ⊙ {activation_name(word.activation)}(gate)"),
        Step(f"out {whole(word.width)} → {whole(width)}"),
    ]
    tags = [f"gates of {word.blocks} blocks", *(["bias"] if word.bias else [])]
    return _block("Linear recurrent unit", "RG-LRU", rows, tags)


def _then(activation: str | None) -> str:
    return f", {activation_name(activation)}" if activation is not None else ""


def _other(word: words.Recurrence, width: int) -> Block:
    """Return the block of a recurrence by its sections and numbers alone."""
    rows: list[Row] = [Step("state", loops=True), Step(f"out → {whole(width)}")]
    return _block(word.kind.replace("-", " ").capitalize(), "", rows, further_tags(word, ""))


_BLOCKS: Mapping[type, Callable[[Any, int], Block]] = {
    words.DecayedAverage: _decayed_average,
    words.LinearAttention: _linear_attention,
    words.DeltaRule: _delta_rule,
    words.SelectiveScan: _selective_scan,
    words.MatrixState: _matrix_state,
    words.ShortConvolution: _short_convolution,
    words.RgLru: _rg_lru,
}


def recurrence_block(word: words.Recurrence, width: int) -> Block:
    """Return the block of a recurrent token mixer."""
    return _BLOCKS.get(type(word), _other)(word, width)
