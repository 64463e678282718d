"""Parameters of recurrences, and their operations on the state: formulas as in `archc.compiler.modules.recurrent`."""

from __future__ import annotations

from collections.abc import Sequence

from archc.archspec import vocabulary as words
from archc.compiler.structure.part import Part, activation, grouped_linear, linear, low_rank, norm, part


def recurrence(word: words.Recurrence, width: int) -> Part:
    """Return a recurrence over a residual stream of that width."""
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
            return part(
                **{name: linear(width, word.width, word.bias) for name in "bcx"},
                convolution=depthwise(word.convolution.kernel, word.width, word.convolution.bias),
                o=linear(word.width, width, word.bias),
            ).with_flops((2 * word.convolution.kernel + 2) * word.width)
        case words.RgLru():
            return _rg_lru(word, width)


def token_shift(word: words.TokenShift, streams: Sequence[str], width: int) -> Part:
    """Return a token shift: a vector for each stream, and for a dynamic one its projections."""
    vectors = dict.fromkeys(streams, (width,))
    if not isinstance(word, words.DynamicShift):
        return part(vectors)
    return part(
        {**vectors, "first": (width,)},
        down=linear(width, word.rank * len(streams), False),
        up=part(**{name: linear(word.rank, width, False) for name in streams}),
    )


def depthwise(taps: int, width: int, bias: bool) -> Part:
    """Return a causal convolution of each channel by itself."""
    return part({"weight": (taps, width), "bias": (width,) if bias else None})


def _head_norm(channels: int) -> Part:
    return part({"weight": (channels,), "bias": (channels,)})


def _decayed_average(word: words.DecayedAverage, width: int) -> Part:
    return part(
        {"decay": (word.width,), "bonus": (word.width,)},
        shift=token_shift(word.shift, ("k", "v", "r"), width),
        **{name: linear(width, word.width, False) for name in "rkv"},
        o=linear(word.width, width, False),
    ).with_flops(8 * word.width)


def _linear_attention(word: words.LinearAttention, width: int) -> Part:
    channels = word.heads * word.head_dim
    rank = word.decay.rank if isinstance(word.decay, words.LowRankDecay) else None
    streams = ("k", "v", "r", "g") if rank is None else ("w", "k", "v", "r", "g")
    return part(
        {"decay": (channels,) if rank is None else None, "bonus": (channels,)},
        shift=token_shift(word.shift, streams, width),
        **{name: linear(width, channels, False) for name in "rkvg"},
        o=linear(channels, width, False),
        decay=low_rank(width, rank, channels, True) if rank is not None else None,
        norm=_head_norm(channels),
    ).with_flops(5 * word.heads * word.head_dim**2)


def _delta_rule(word: words.DeltaRule, width: int) -> Part:
    channels = word.heads * word.head_dim
    residual = word.value_residual
    return part(
        dict.fromkeys(("key_scale", "key_rate", "bonus"), (channels,)),
        shift=token_shift(word.shift, ("r", "w", "k", "v", "a", "g"), width),
        **{name: linear(width, channels, False) for name in "rkv"},
        o=linear(channels, width, False),
        decay=low_rank(width, word.decay_rank, channels, True),
        rate=low_rank(width, word.rate_rank, channels, True),
        gate=low_rank(width, word.gate_rank, channels, False),
        value_gate=low_rank(width, residual.rank, channels, True) if isinstance(residual, words.ValueMix) else None,
        norm=_head_norm(channels),
    ).with_flops(9 * word.heads * word.head_dim**2)


def _selective_scan(word: words.SelectiveScan, width: int) -> Part:
    return part(
        {"decay_log": (word.state, word.width), "skip": (word.width,)},
        input=linear(width, 2 * word.width, word.bias),
        convolution=depthwise(word.kernel, word.width, word.kernel_bias),
        inner=grouped_linear(word.width, word.heads * (word.step_rank + 2 * word.state), False, word.heads),
        step_norm=norm(word.inner_norm, word.step_rank),
        b_norm=norm(word.inner_norm, word.state),
        c_norm=norm(word.inner_norm, word.state),
        step=grouped_linear(word.heads * word.step_rank, word.width, True, word.heads),
        output=linear(word.width, width, word.bias),
        activation=activation(word.activation),
    ).with_flops((7 * word.state + 2 * word.kernel) * word.width)


def _matrix_state(word: words.MatrixState, width: int) -> Part:
    convolution = word.convolution
    streams = {"q": word.keys, "k": word.keys, "v": word.values}
    on_state = (7 if word.update == "delta" else 5) * word.values * word.key_dim
    in_convolution = 2 * convolution.kernel * sum(streams.values()) if convolution is not None else 0
    return part(
        {"skip": (word.heads,) if word.skip else None},
        **{name: linear(width, outputs, word.bias) for name, outputs in streams.items()},
        o=linear(word.values, width, word.bias if word.output_bias is None else word.output_bias),
        convolution=part(
            **{name: depthwise(convolution.kernel, each, convolution.bias) for name, each in streams.items()}
        )
        if convolution is not None
        else None,
        activation=activation(word.activation) if word.activation is not None else None,
        q_norm=_matrix_qk_norm(word),
        k_norm=_matrix_qk_norm(word),
        decay=_decay(word, width),
        rate=linear(width, word.heads, word.bias) if word.update == "delta" else None,
        output=_gated_output(word, width),
    ).with_flops(on_state + in_convolution)


def _matrix_qk_norm(word: words.MatrixState) -> Part | None:
    return None if isinstance(word.qk_norm, words.L2Norm) else norm(word.qk_norm, word.key_dim)


def _decay(word: words.MatrixState, width: int) -> Part | None:
    decay = word.decay
    if not isinstance(decay, words.ProjectedDecay):
        return None
    outputs = word.heads * word.key_dim if decay.over == "channels" else word.heads
    return part({"bias": (outputs,), "log": (word.heads,)}, step=low_rank(width, decay.rank, outputs, word.bias))


def _gated_output(word: words.MatrixState, width: int) -> Part:
    group = word.norm
    gate = low_rank(width, word.gate.rank, word.values, word.bias) if word.gate is not None else None
    if not isinstance(group, words.OutputNorm):
        return part(gate=gate)
    weights = word.values // group.groups if group.weights == "shared" else word.values
    return part(gate=gate, norm=part({"weight": (weights,) if group.affine else None}))


def _rg_lru(word: words.RgLru, width: int) -> Part:
    block = word.width // word.blocks
    gate = part({"weight": (word.blocks, block, block), "bias": (word.width,)})
    return part(
        {"decay": (word.width,)},
        x=linear(width, word.width, word.bias),
        gate=linear(width, word.width, word.bias),
        convolution=depthwise(word.convolution.kernel, word.width, word.convolution.bias),
        input_gate=gate,
        recurrence_gate=gate,
        o=linear(word.width, width, word.bias),
        activation=activation(word.activation),
    ).with_flops((4 * block + 2 * word.convolution.kernel + 8) * word.width)
