"""The formats of compressed-tensors: integers packed into words, and int8 or FP8 elements with scales.

Packed: `weight_packed` int32 [N, K · bits / 32] of integers plus 2^(bits−1), `weight_shape` [2], `weight_scale` [N, G];
optional `weight_zero_point` [N, G], packed along N, and `weight_g_idx` [K], the group of each input. Elements: `weight`
and `weight_scale`, optional `weight_zero_point` in int8.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from archc.archspec.errors import clip as clipped
from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.weights import Weights
from archc.compiler.weights.packings.bits import unpack, word_range
from archc.compiler.weights.packings.grouped import SCALE_DTYPES, Groups, consecutive
from archc.compiler.weights.packings.packing import PackedTensor, expect_shape, read_number
from archc.compiler.weights.packings.scaled import read_block, scaled_weight

_WORD = 32
_BITS = (2, 4, 8)
_FORMATS = ("pack-quantized", "int-quantized", "float-quantized", "naive-quantized", "mixed-precision", "dense")
_ELEMENTS = ("I8", "F8_E4M3")
_PACKED, _SHAPE, _SCALE, _ZERO, _ORDER = "_packed", "_shape", "_scale", "_zero_point", "_g_idx"


@dataclass(frozen=True)
class PackedIntegers:
    """A weight [N, K] of integers that are packed along the inputs."""

    weights: Weights
    name: str
    shape: tuple[int, int]
    bits: int
    size: int | None
    order: Tensor | None

    @property
    def parts(self) -> tuple[str, ...]:
        """The stored tensors."""
        names = [self.name + end for end in (_PACKED, _SHAPE, _SCALE, _ZERO, _ORDER)]
        return tuple(name for name in names if name in self.weights.names())

    def rows(self, start: int, stop: int) -> Tensor:
        """Return rows [start, stop) in float32."""
        of_input = self.order if self.size is None else consecutive(self.shape[1], self.size)
        assert of_input is not None
        return self.groups(start, stop).widen(of_input)

    def groups(self, start: int, stop: int) -> Groups:
        """Return rows [start, stop) as they are stored."""
        rows = slice(start, stop)
        integers = unpack(self.weights.read(self.name + _PACKED, (rows,)), self.bits)[:, : self.shape[1]]
        scale = self.name + _SCALE
        if len(self.weights.shape(scale)) == 2:
            scales = self.weights.read(scale, (rows,)).float()
        else:
            scales = self.weights.read(scale).float().reshape(1, 1).expand(stop - start, 1)
        return Groups(integers, scales, self.zeros(start, stop))

    @property
    def scale_dtype(self) -> torch.dtype | None:
        """The dtype of the scales."""
        return SCALE_DTYPES.get(self.weights.dtype(self.name + _SCALE))

    def zeros(self, start: int, stop: int) -> Tensor | int:
        """Return zero points [N, G] of unsigned integers; one number for all of symmetric quantization."""
        name, half = self.name + _ZERO, 2 ** (self.bits - 1)
        if name not in self.weights.names():
            return half
        if self.weights.dtype(name) != "I32":
            return self.weights.read(name, (slice(start, stop),)).int() + half
        span, before = word_range(start, stop, self.bits, self.weights.shape(name)[0])
        return unpack(self.weights.read(name, (span,)).t(), self.bits)[:, before : before + stop - start].t().int()


def find_compressed(weights: Weights, config: Mapping[str, Any]) -> dict[str, PackedTensor]:
    """Return the packed weights, and those of int8 or FP8 elements with scales."""
    groups = list(_config_groups(config))
    found: dict[str, PackedTensor] = {}
    for name in weights.names():
        if name.endswith(f".weight{_PACKED}"):
            weight = name.removesuffix(_PACKED)
            found[weight] = _packed(weights, weight, groups)
        elif name.endswith(".weight") and weights.dtype(name) in _ELEMENTS and name + _SCALE in weights.names():
            found[name] = _elements(weights, name, groups)
    return found


def _config_groups(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield `weights` of each group of layers. Raises BuildError for a format or a transform that is not supported."""
    listed = config.get("config_groups") or {}
    if not isinstance(listed, Mapping) or not all(isinstance(group, Mapping) for group in listed.values()):
        raise BuildError(f"quantization config: config_groups: expected groups by name, got {listed!r:.60}")
    for group in (config, *listed.values()):
        stored_format = group.get("format")
        if stored_format is not None and stored_format not in _FORMATS:
            raise BuildError(
                f"quantization config: format: {stored_format!r:.60} is not supported; supported are "
                f"{', '.join(_FORMATS)}"
            )
        if isinstance(group.get("weights"), Mapping):
            yield group["weights"]
    sparsity = config.get("sparsity_config")
    if isinstance(sparsity, Mapping) and sparsity.get("format", "dense") != "dense":
        raise BuildError(
            f"quantization config: sparsity_config.format: {sparsity['format']!r:.60} is not supported; use a "
            "checkpoint that is not sparse"
        )
    transforms = config.get("transform_config")
    if isinstance(transforms, Mapping) and transforms.get("config_groups"):
        raise BuildError(
            "quantization config: transform_config: rotated weights are not supported; use a checkpoint without "
            "transforms"
        )


def _packed(weights: Weights, name: str, groups: list[Mapping[str, Any]]) -> PackedIntegers:
    packed, scale, zero, order_name = (name + end for end in (_PACKED, _SCALE, _ZERO, _ORDER))
    expect_shape(weights, name + _SHAPE, (2,), name)
    rows, columns = (int(size) for size in weights.read(name + _SHAPE))
    stored = tuple(weights.shape(packed))
    bits = [read_number(group, ("num_bits",), _BITS) for group in groups]
    fitting = [each for each in bits if each and stored == (rows, -(-columns * each // _WORD))]
    if not fitting or weights.dtype(packed) != "I32":
        choices = " or ".join(str(each) for each in dict.fromkeys(bits) if each) or "an unknown number of"
        raise BuildError(
            f"tensor '{clipped(packed)}' {list(stored)} does not hold {[rows, columns]} integers of {choices} bits; "
            "use the quantization config of this checkpoint"
        )
    scales = tuple(weights.shape(scale)) if scale in weights.names() else None
    sizes = {columns, *(size for group in groups if (size := read_number(group, ("group_size",))) and size > 0)}
    size = columns if scales == (1,) else None
    size = next((each for each in sorted(sizes) if scales == (rows, -(-columns // each))), size)
    if scales is None or size is None:
        listed = ", ".join(str([rows, -(-columns // each)]) for each in sorted(sizes))
        raise BuildError(
            f"tensor '{clipped(scale)}' of the packed weight '{clipped(name)}' "
            f"{'not found' if scales is None else f'has shape {list(scales)}, expected {listed}'}; use the "
            "quantization config of this checkpoint"
        )
    if zero in weights.names():
        height = -(-rows * fitting[0] // _WORD) if weights.dtype(zero) == "I32" else rows
        expect_shape(weights, zero, (height, -(-columns // size)), name)
    if order_name not in weights.names():
        return PackedIntegers(weights, name, (rows, columns), fitting[0], size, None)
    expect_shape(weights, order_name, (columns,), name)
    order = weights.read(order_name).long()
    if not 0 <= int(order.min()) <= int(order.max()) < -(-columns // size):
        raise BuildError(
            f"tensor '{clipped(order_name)}' has groups out of range of '{clipped(scale)}' {list(scales)}; download it "
            "again"
        )
    return PackedIntegers(weights, name, (rows, columns), fitting[0], None, order)


def _elements(weights: Weights, name: str, groups: list[Mapping[str, Any]]) -> PackedTensor:
    """Return a weight of int8 or FP8 elements; its scales have the blocks of the group that they fit."""
    shape, scales = weights.shape(name), tuple(weights.shape(name + _SCALE))
    blocks = [block for group in groups if (block := _block(group)) is not None]
    fits = (block for block in blocks if scales == (-(-shape[0] // block[0]), -(-shape[-1] // block[1])))
    zero = name + _ZERO if name + _ZERO in weights.names() else None
    if zero is not None:
        expect_shape(weights, zero, scales, name)
    return scaled_weight(weights, name, name + _SCALE, next(fits, next(iter(blocks), None)), zero)


def _block(group: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the rows and columns that share a scale, if the strategy of a group is blocks or groups of inputs."""
    if group.get("block_structure") is not None:
        return read_block({"weight_block_size": group["block_structure"]})
    size = read_number(group, ("group_size",))
    return (1, size) if size is not None and size > 0 else None
