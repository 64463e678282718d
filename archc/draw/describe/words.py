"""Numbers and names of the vocabulary as the texts of a figure."""

from __future__ import annotations

import math
from collections.abc import Mapping

from archc.archspec import vocabulary as words

ACTIVATIONS = {
    "silu": "SiLU",
    "gelu": "GELU",
    "gelu_tanh": "GELU",
    "relu": "ReLU",
    "relu2": "ReLU²",
    "xielu": "xIELU",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
}
_GATED = {"silu": "SwiGLU", "gelu": "GeGLU", "gelu_tanh": "GeGLU", "relu": "ReGLU"}
_POWERS = ("", "K", "M", "B", "T")


def whole(number: int) -> str:
    """Return an integer with separators of thousands."""
    return f"{number:,}"


def real(number: float) -> str:
    """Return a number with at most four significant digits, or all digits of an integer."""
    if abs(number) >= 1e4:
        return f"{number:,.0f}"
    return f"{number:.4g}".replace("e-0", "e-").replace("e+0", "e")


def short(number: float) -> str:
    """Return a count with three significant digits and a suffix: `494 M`."""
    size = 0 if number < 1000 else min(int(math.log10(number) / 3 + 1e-9), len(_POWERS) - 1)
    if size and float(f"{number / 1000**size:.3g}") >= 1000 and size < len(_POWERS) - 1:
        size += 1
    if not size:
        return real(number)
    value = number / 1000**size
    return f"{value:.{0 if value >= 99.95 else 1 if value >= 9.995 else 2}f} {_POWERS[size]}"


def byte_count(number: float) -> str:
    """Return a number of bytes with three significant digits: `384 MiB`."""
    size = 0 if number < 1024 else min(int(math.log2(number) / 10), 4)
    value = number / 1024**size
    text = f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"
    return f"{text} {('bytes', 'KiB', 'MiB', 'GiB', 'TiB')[size]}"


def factor(number: float, width: int) -> str:
    """Return a factor, as a root of the width if it is one."""
    for root, text in ((math.sqrt(width), f"√{width:,}"), (1 / math.sqrt(width), f"1/√{width:,}")):
        if math.isclose(number, root, rel_tol=1e-3):
            return f"× {text}"
    return f"× {real(number)}"


def activation_name(name: str) -> str:
    """Return an activation as papers write it."""
    return ACTIVATIONS.get(name, name)


def approximation_tags(activation: str) -> list[str]:
    """Return a tag for an approximated activation."""
    return ["tanh approximation"] if activation == "gelu_tanh" else []


def gated_name(activation: str) -> str:
    """Return the name of a gated MLP with an activation: SwiGLU and its relatives."""
    return _GATED.get(activation, "gated")


def norm_name(norm: words.Norm | words.PlacedNorm | words.QkNorm | words.L2Norm) -> str:
    """Return a norm with the options that change its formula."""
    if isinstance(norm, words.NoNorm):
        return "none"
    if isinstance(norm, words.L2Norm):
        return "L2 norm"
    name = "RMSNorm" if isinstance(norm, words.RmsNorm) else "LayerNorm"
    if not norm.affine:
        return f"{name}, no weight"
    name += " (1 + weight)" if norm.unit_offset else ""
    return f"{name}, no bias" if isinstance(norm, words.LayerNorm) and not norm.bias else name


def bias_tags(names: Mapping[str, bool]) -> list[str]:
    """Return a tag with the projections that have a bias; none without any."""
    biased = [name for name, has_bias in names.items() if has_bias]
    if len(biased) == len(names):
        return ["bias"]
    return [f"bias on {', '.join(biased)}"] if biased else []


def further_tags(word: words.Section, known: str) -> list[str]:
    """Return a tag for each value of a section that differs from its default, except for the names in `known`."""
    tags = []
    for name, info in type(word).model_fields.items():
        value = getattr(word, name)
        if name == "kind" or name in known.split() or value == info.get_default(call_default_factory=True):
            continue
        title = name.replace("_", " ")
        match value:
            case bool():
                tags.append(title if value else f"no {title}")
            case int() | float():
                tags.append(f"{title} {real(value)}")
            case words.Section():
                inner = [*([value.kind] if hasattr(value, "kind") else []), *further_tags(value, "")]
                tags.append(f"{title}: {', '.join(inner)}" if inner else title)
            case _:
                tags.append(f"{title} {value}")
    return tags


def scaling_text(scaling: words.RopeScaling) -> str:
    """Return the context extension of a rotary embedding; empty without one."""
    names = {
        "linear": "linear",
        "proportional": "proportional",
        "dynamic": "dynamic NTK",
        "prompt-ntk": "NTK by prompt",
        "llama3": "Llama 3",
        "yarn": "YaRN",
        "longrope": "LongRoPE",
    }
    if isinstance(scaling, words.NoScaling):
        return ""
    times = getattr(scaling, "factor", None)
    return f"{names[scaling.kind]} scaling" + (f" × {real(times)}" if times is not None and times != 1 else "")


def position_tags(position: words.Position, adds_positions: bool) -> list[str]:
    """Return the tags of a position encoding that acts in attention."""
    match position:
        case words.Rope():
            tags = [f"RoPE θ {real(position.theta)}"]
            if position.dim is not None:
                tags[0] += f", {position.dim} dims"
            elif position.fraction != 1.0:
                tags[0] += f", {real(100 * position.fraction)}% of a head"
            scaling = scaling_text(position.scaling)
            return tags + ([scaling] if scaling else []) + (["interleaved pairs"] * (position.pairing == "interleaved"))
        case words.BlockRope():
            return [f"2D RoPE θ {real(position.theta)}"]
        case words.Alibi():
            return ["ALiBi"]
        case words.RelativeBuckets():
            shared = "one table" if position.table == "shared" else "table per layer"
            return [f"relative bias: {position.buckets} buckets, {shared}"]
        case words.NoPosition():
            return [] if adds_positions else ["no positions (NoPE)"]
        case words.Disentangled():
            parts = ["q·P"] * position.keys + ["k·P"] * position.queries
            return [f"disentangled: {' + '.join(parts)}, {2 * position.span} rows"]
        case _:
            return [] if position.kind in ("learned", "sinusoidal") else [position.kind]
