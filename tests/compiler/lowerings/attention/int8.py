"""Lowered graphs with int8 caches, and the same integers and scales in numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from archc.compiler.lowerings.attention.blocks import QueryBlocks
from archc.compiler.lowerings.attention.grouped import GroupedAttention
from archc.compiler.lowerings.attention.int8_caches import Int8Caches
from archc.compiler.lowerings.attention.latent import GroupedLatentAttention
from archc.compiler.lowerings.attention.masks import AdditiveMasks
from tests.compiler.graphs import run
from tests.compiler.lowerings.attention.cached import (
    CachedAttention,
    CachedLatent,
    Extra,
    nothing,
)
from tests.compiler.lowerings.attention.problems import lower

STEP = np.float32(1 / 127)


def lower_int8(problem: CachedAttention, extra: Extra = nothing) -> ir.Model:
    caches, blocks, masks = Int8Caches(), QueryBlocks(), AdditiveMasks()
    return lower(
        problem.model(extra),
        Attention=GroupedAttention(caches, blocks, masks),
        LatentAttention=GroupedLatentAttention(caches, blocks, masks),
        UpdateCache=caches.update,
    )


def widths(problem: CachedAttention, name: str) -> list[int]:
    """Return the widths in an entry of a cache that have a scale each."""
    if not isinstance(problem, CachedLatent):
        return [problem.width]
    return [width for width in (problem.latent, problem.rope) if width]


def quantize(entries: NDArray[np.float32], parts: Sequence[int]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return the integers [B, K, T, D] and the scales [B, K, T, parts] of entries [B, K, T, D]."""
    pieces = np.split(entries, np.cumsum(parts)[:-1], axis=-1)
    scales = [np.abs(piece).max(-1, keepdims=True) * STEP for piece in pieces]
    integers = [np.round(piece / scale) for piece, scale in zip(pieces, scales, strict=True)]
    return np.concatenate(integers, -1).astype(np.int8), np.concatenate(scales, -1)


def dequantize(integers: NDArray[np.int8], scales: NDArray[np.float32], parts: Sequence[int]) -> NDArray[np.float32]:
    """Return float32 [B, K, T, D] of integers and scales as `quantize` returns them."""
    widened: NDArray[np.float32] = integers * np.repeat(scales, parts, axis=-1)
    return widened


def stored_feeds(problem: CachedAttention, feeds: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the feeds with each past cache in int8, as the graph reads it, and the past as float32 has to be equal."""
    stored = dict(feeds)
    for name in problem.names:
        integers, scales = quantize(stored[f"past.{name}"], widths(problem, name))
        stored[f"past.{name}"] = integers.swapaxes(2, 3).copy() if name == "key" else integers
        stored[f"past.{name}.scale"] = scales.swapaxes(2, 3).copy()
    return stored


def outputs(model: ir.Model, feeds: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    names = [output.name or "" for output in model.graph.outputs]
    return dict(zip(names, run(model, feeds), strict=True))


def caches_of(problem: CachedAttention, results: dict[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
    """Return the caches that a call leaves in float32."""
    caches = {}
    for name in problem.names:
        integers, scales = results[f"present.{name}"], results[f"present.{name}.scale"]
        integers = integers.swapaxes(2, 3) if name == "key" else integers
        caches[name] = dequantize(integers, scales.swapaxes(2, 3), widths(problem, name))
    return caches
