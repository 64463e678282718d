"""A part of a model: the shapes of its parameters, its own parts, and the arithmetic of a token."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from archc.archspec import vocabulary as words

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Part:
    """A module without storage. `repeats` equal parts, which a model computes as one, are numbered in slot names."""

    shapes: Mapping[str, Shape] = field(default_factory=dict)
    parts: Mapping[str, Part] = field(default_factory=dict)
    flops: int = 0  # of one token, without those of its parts
    repeats: int | None = None

    def slots(self, prefix: str = "") -> Iterator[tuple[str, Shape]]:
        """Yield the slots by name: own parameters first, then those of each part."""
        for name, shape in self.shapes.items():
            yield f"{prefix}{name}", shape
        for name, part in self.parts.items():
            if part.repeats is None:
                yield from part.slots(f"{prefix}{name}.")
            else:
                for inner, shape in part.slots():
                    yield from ((f"{prefix}{name}.{index}.{inner}", shape) for index in range(part.repeats))

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(math.prod(shape) for _, shape in self.slots())

    @property
    def total_flops(self) -> int:
        """Floating-point operations of one token, those of all parts included."""
        return self.flops + sum(part.total_flops for part in self.parts.values())

    def with_flops(self, flops: int) -> Part:
        """Return the part with operations of its own."""
        return replace(self, flops=flops)

    def without_flops(self) -> Part:
        """Return the part as one that is computed once for a source, and not for each token."""
        return Part(self.shapes, {name: part.without_flops() for name, part in self.parts.items()}, 0, self.repeats)


def part(shapes: Mapping[str, Shape | None] | None = None, /, **parts: Part | None) -> Part:
    """Return a part of those parameters and parts that are present."""
    own = {name: shape for name, shape in (shapes or {}).items() if shape is not None}
    return Part(own, {name: each for name, each in parts.items() if each is not None})


def linear(inputs: int, outputs: int, bias: bool) -> Part:
    """Return a projection: weight [outputs, inputs], bias [outputs]; two operations for each weight."""
    own = part({"weight": (outputs, inputs), "bias": (outputs,) if bias else None})
    return own.with_flops(2 * inputs * outputs)


def grouped_linear(inputs: int, outputs: int, bias: bool, groups: int) -> Part:
    """Return a projection of equal groups of channels, each by itself; two operations for each weight."""
    if groups == 1:
        return linear(inputs, outputs, bias)
    own = part({"weight": (outputs, inputs // groups), "bias": (outputs,) if bias else None})
    return own.with_flops(2 * inputs * outputs // groups)


def low_rank(inputs: int, rank: int | None, outputs: int, bias: bool) -> Part:
    """Return a projection by way of `rank` channels; a plain one without a rank."""
    if rank is None:
        return linear(inputs, outputs, bias)
    return part(down=linear(inputs, rank, False), up=linear(rank, outputs, bias))


def table(rows: int, width: int) -> Part:
    """Return a lookup table: weight [rows, width]."""
    return part({"weight": (rows, width)})


def norm(word: words.Norm | words.PlacedNorm | words.QkNorm, width: int) -> Part | None:
    """Return a norm over vectors of that width; None for `none`."""
    match word:
        case words.RmsNorm():
            return part({"weight": (width,) if word.affine else None})
        case words.LayerNorm():
            return part({"weight": (width,) if word.affine else None, "bias": (width,) if word.bias else None})
    return None


def qk_norm(word: words.QkNorm, heads: int, head_dim: int) -> Part | None:
    """Return a norm on queries or keys, over each head or over the whole projection."""
    if isinstance(word, words.NoNorm):
        return None
    if word.weights == "per-head":
        return part({"weight": (heads, head_dim)})
    return norm(word, head_dim if word.over == "head" else heads * head_dim)


def activation(name: str) -> Part | None:
    """Return the parameters of an activation; None for a function without any."""
    return part({"alpha_p": (1,), "alpha_n": (1,)}) if name == "xielu" else None
