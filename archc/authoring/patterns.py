"""Names of tensors with the numbers of layers and experts collapsed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from archc.compiler.weights.checkpoint.weights import Weights


@dataclass(frozen=True)
class TensorGroup:
    """Tensors whose names differ in numbers alone, of one shape, dtype and use."""

    pattern: str
    shape: tuple[int, ...]
    dtype: str
    use: str | None  # read, ignored, unread or outside; None without a spec
    count: int
    layers: tuple[int, ...]


def group_tensors(weights: Weights, uses: Mapping[str, str]) -> Iterator[TensorGroup]:
    """Yield the groups of a checkpoint's tensors, in the order of their first names and layers."""
    groups: dict[tuple[str, tuple[int, ...], str, str | None], list[int | None]] = {}
    for name in sorted(weights.names(), key=_natural):
        pattern, layer = collapse(name)
        key = (pattern, weights.shape(name), weights.dtype(name), uses.get(name))
        groups.setdefault(key, []).append(layer)
    for (pattern, shape, dtype, use), layers in groups.items():
        numbers = tuple(sorted({layer for layer in layers if layer is not None}))
        yield TensorGroup(pattern, shape, dtype, use, len(layers), numbers)


def collapse(name: str) -> tuple[str, int | None]:
    """Return a tensor's name with its numbers as placeholders, and the number of its layer.

    The number after `experts` is `{expert}`, the first other one `{layer}`, and any further one `{index}`.
    """
    parts: list[str] = []
    layer: int | None = None
    for part in name.split("."):
        if not part.isascii() or not part.isdigit():
            parts.append(part)
        elif parts and parts[-1] == "experts":
            parts.append("{expert}")
        elif layer is None:
            layer = int(part)
            parts.append("{layer}")
        else:
            parts.append("{index}")
    return ".".join(parts), layer


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a key by which names sort with their numbers by value."""
    return [(int(part), "") if part.isascii() and part.isdigit() else (-1, part) for part in name.split(".")]
