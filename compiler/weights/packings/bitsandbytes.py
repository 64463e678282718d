"""The formats of bitsandbytes: 4-bit codes in blocks of the flattened weight (Dettmers et al. 2023), and int8 rows.

4 bits: `weight` uint8 [N · K / 2, 1] holds two codes in a byte, the first in the high half; `weight.quant_map` [16] are
their numbers, `weight.absmax` the factor of each block, and `weight.quant_state.bitsandbytes__nf4` a JSON text with
shape and block size. Factors that are quantized themselves are codes of `weight.nested_quant_map` [256] times
`weight.nested_absmax`, plus an offset. int8: `weight` [N, K], with `SCB` [N] the largest magnitude of a row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from archc.archspec.errors import clip as clipped
from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.weights import Weights
from archc.compiler.weights.packings.packing import PackedTensor, expect_shape

_STATE = ".quant_state.bitsandbytes__"
_TYPES = ("nf4", "fp4")
_ABSMAX, _CODES, _NESTED_ABSMAX, _NESTED_CODES = ".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map"
_SCB, _LAYOUT = "SCB", "weight_format"
_STEP = 1 / 127


@dataclass(frozen=True)
class FourBitWeight:
    """A weight in 4-bit codes; `nested` is the block size and the offset of quantized factors."""

    weights: Weights
    name: str
    kind: str
    shape: tuple[int, ...]
    block: int
    nested: tuple[int, float] | None

    @property
    def parts(self) -> tuple[str, ...]:
        """The stored tensors."""
        more = (_NESTED_ABSMAX, _NESTED_CODES) if self.nested else ()
        return self.name, *(self.name + end for end in (_ABSMAX, _CODES, _STATE + self.kind, *more))

    def rows(self, start: int, stop: int) -> Tensor:
        """Return rows [start, stop) in float32: the blocks that hold them, cut."""
        width = torch.Size(self.shape[1:]).numel()
        first, last = start * width, stop * width
        begin, end = first // self.block, -(-last // self.block)
        at = begin * self.block
        stored = self.weights.read(self.name, (slice(at // 2, -(-last // 2)),)).reshape(-1)
        codes = torch.stack((stored >> 4, stored & 15), -1).flatten().int()[: last - at]
        numbers = self.weights.read(self.name + _CODES).float()[codes]
        numbers *= self._factors(begin, end).repeat_interleave(self.block)[: len(numbers)]
        return numbers[first - at :].reshape(stop - start, *self.shape[1:])

    def _factors(self, begin: int, end: int) -> Tensor:
        """Return the factors of blocks [begin, end)."""
        stored = self.weights.read(self.name + _ABSMAX, (slice(begin, end),))
        if self.nested is None:
            return stored.float()
        block, offset = self.nested
        codes = self.weights.read(self.name + _NESTED_CODES).float()[stored.int()]
        return codes * self.weights.read(self.name + _NESTED_ABSMAX)[torch.arange(begin, end) // block] + offset


@dataclass(frozen=True)
class Int8Weight:
    """A weight [N, K] in int8, with the largest magnitude of each row."""

    weights: Weights
    layer: str

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the integers."""
        return self.weights.shape(f"{self.layer}weight")

    @property
    def parts(self) -> tuple[str, ...]:
        """The stored tensors."""
        names = (self.layer + end for end in ("weight", _SCB, _LAYOUT))
        return tuple(name for name in names if name in self.weights.names())

    def rows(self, start: int, stop: int) -> Tensor:
        """Return rows [start, stop) in float32."""
        largest = self.weights.read(self.layer + _SCB, (slice(start, stop),)).float()
        return self.weights.read(f"{self.layer}weight", (slice(start, stop),)).float() * largest[:, None] * _STEP


def find_bitsandbytes(weights: Weights, config: Mapping[str, Any]) -> dict[str, PackedTensor]:
    """Return the weights in 4-bit codes and in int8; the tensors contain all that is needed."""
    found: dict[str, PackedTensor] = {}
    for name in weights.names():
        if _STATE in name:
            weight, _, kind = name.partition(_STATE)
            found[weight] = _four_bit(weights, weight, kind)
        elif name.endswith(f".{_SCB}"):
            layer = name.removesuffix(_SCB)
            found[f"{layer}weight"] = _int8(weights, layer)
    return found


def _four_bit(weights: Weights, name: str, kind: str) -> FourBitWeight:
    state_name = name + _STATE + kind
    if kind not in _TYPES:
        raise BuildError(
            f"tensor '{clipped(state_name)}': '{kind:.60}' is not supported; supported are {', '.join(_TYPES)}"
        )
    try:
        state = json.loads(bytes(weights.read(state_name).to(torch.uint8).tolist()))
        shape, block = tuple(int(size) for size in state["shape"]), int(state["blocksize"])
        nested = (int(state["nested_blocksize"]), float(state["nested_offset"])) if "nested_offset" in state else None
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise BuildError(f"tensor '{clipped(state_name)}' is not a quantization state: {error!r:.200}") from None
    count = torch.Size(shape).numel()
    if not shape or count < 1 or block < 2 or block % 2 or (nested is not None and nested[0] < 1):
        raise BuildError(f"tensor '{clipped(state_name)}': shape {list(shape)} and block size {block} do not fit")
    if name not in weights.names() or weights.dtype(name) != "U8":
        raise BuildError(f"tensor '{clipped(name)}': expected 4-bit codes in uint8")
    expect_shape(weights, name, (-(-count // 2), 1), name)
    expect_shape(weights, name + _CODES, (16,), name)
    expect_shape(weights, name + _ABSMAX, (blocks := -(-count // block),), name)
    if nested is not None:
        expect_shape(weights, name + _NESTED_CODES, (256,), name)
        expect_shape(weights, name + _NESTED_ABSMAX, (-(-blocks // nested[0]),), name)
    if (weights.dtype(name + _ABSMAX) == "U8") != (nested is not None):
        raise BuildError(
            f"tensor '{clipped(name + _ABSMAX)}' has dtype {weights.dtype(name + _ABSMAX)}, unlike its state"
        )
    return FourBitWeight(weights, name, kind, shape, block, nested)


def _int8(weights: Weights, layer: str) -> Int8Weight:
    name = f"{layer}weight"
    if name not in weights.names() or weights.dtype(name) != "I8" or len(weights.shape(name)) != 2:
        raise BuildError(
            f"tensor '{clipped(name)}': expected a matrix of int8, because '{clipped(layer + _SCB)}' exists"
        )
    expect_shape(weights, layer + _SCB, (weights.shape(name)[0],), name)
    if layer + _LAYOUT in weights.names() and int(weights.read(layer + _LAYOUT).reshape(-1)[0]) != 0:
        raise BuildError(
            f"tensor '{clipped(layer + _LAYOUT)}': layouts for a kernel are not supported; save the checkpoint in the "
            "layout 'row'"
        )
    return Int8Weight(weights, layer)
