"""Rules for words of encoders: convolutions over tokens, grouped projections and disentangled attention."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from archc.archspec.checking.norm_rules import norm_faults
from archc.archspec.vocabulary import (
    Attention,
    Disentangled,
    GroupedQueryAttention,
    LayerConvolution,
    ProjectionGroups,
)


def convolution_faults(convolution: LayerConvolution, model: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield the faults of a convolution next to a layer."""
    yield from norm_faults(convolution.norm, "layer.convolution.norm")
    yield from kernel_faults(convolution.kernel, "layer.convolution", model)


def kernel_faults(kernel: int, path: str, model: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield the faults of a convolution over the tokens on both sides."""
    if kernel % 2 == 0:
        yield f"{path}.kernel", f"a kernel of {kernel} has no middle", "use an odd number"
    if model["topology"] != "encoder" or model["direction"] == "past":
        message = "a convolution over tokens on both sides is not supported with causal attention"
        yield path, message, "use `topology: encoder`"


def group_faults(groups: ProjectionGroups, width: int, heads: int, path: str) -> Iterator[tuple[str, str, str]]:
    """Yield the faults of groups that do not divide the channels on both sides of a projection."""
    for name in "qkvo":
        count = getattr(groups, name)
        if width % count or heads % count:
            message = f"{width} and {heads} channels in {count} groups"
            yield f"{path}.{name}", message, "use a divisor of both"


def disentangled_faults(
    position: Disentangled, attention: Attention, both_sides: bool
) -> Iterator[tuple[str, str, str]]:
    """Yield the faults of disentangled attention, which has a key of its own for every query."""
    yield from norm_faults(position.norm, "position.norm")
    if not both_sides:
        yield "position", "disentangled attention requires keys of both sides", "use `topology: encoder`"
    if isinstance(attention, GroupedQueryAttention) and attention.kv_heads != attention.heads:
        message = f"disentangled attention with {attention.kv_heads} kv_heads for {attention.heads} heads"
        yield "attention.kv_heads", message, "use as many as `heads`"
    if not position.keys and not position.queries:
        yield "position", "disentangled attention without a term of positions", "set `keys` or `queries`"
    for key in ("keys", "queries"):
        if getattr(position.bias, key) and (position.projections == "shared" or not getattr(position, key)):
            yield f"position.bias.{key}", "the table has no such projection of its own", "remove the key"
    if position.max_distance is not None and (position.span < 4 or position.max_distance <= position.span // 2 + 1):
        message = f"max_distance {position.max_distance} for {position.span // 2} distances with a bucket each"
        yield "position.max_distance", message, "use more, or a span of 4 or more"
