"""AWQ (Lin et al. 2023), in the layout of AutoAWQ's `gemm` kernels.

`qweight` int32 [K, N / 8] and `qzeros` int32 [G, N / 8] are packed along the outputs, eight 4-bit integers in a word in
the order 0, 2, 4, 6, 1, 3, 5, 7; `scales` [G, N].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from archc.archspec.errors import clip as clipped
from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.weights import Weights
from archc.compiler.weights.packings.bits import unpack
from archc.compiler.weights.packings.grouped import SCALE_DTYPES, Groups, consecutive
from archc.compiler.weights.packings.packing import PackedTensor, expect_shape, read_number

_BITS, _IN_WORD = 4, 8
# Place of output i of eight in a word.
_PLACES = torch.tensor([0, 4, 1, 5, 2, 6, 3, 7])
_ENDS = (".qweight", ".qzeros", ".scales")


@dataclass(frozen=True)
class AwqWeight:
    """A weight [N, K] in the three tensors of a linear layer."""

    weights: Weights
    layer: str
    shape: tuple[int, int]
    size: int
    bits: int = _BITS

    @property
    def parts(self) -> tuple[str, ...]:
        """The stored tensors."""
        return tuple(self.layer + end for end in _ENDS)

    def rows(self, start: int, stop: int) -> Tensor:
        """Return rows [start, stop) in float32."""
        return self.groups(start, stop).widen(consecutive(self.shape[1], self.size))

    def groups(self, start: int, stop: int) -> Groups:
        """Return rows [start, stop) as they are stored."""
        qweight, _, scales = self.parts
        groups = self.weights.shape(scales)[0]
        factors = self.weights.read(scales, (slice(0, groups), slice(start, stop))).float().t()
        return Groups(self._outputs(qweight, start, stop), factors, self.zeros(start, stop))

    @property
    def scale_dtype(self) -> torch.dtype | None:
        """The dtype of the scales."""
        return SCALE_DTYPES.get(self.weights.dtype(f"{self.layer}.scales"))

    def zeros(self, start: int, stop: int) -> Tensor:
        """Return zero points [N, G] of rows [start, stop)."""
        return self._outputs(f"{self.layer}.qzeros", start, stop).int()

    def _outputs(self, name: str, start: int, stop: int) -> Tensor:
        """Return integers [N, M] of packed ones [M, N / 8], for outputs [start, stop)."""
        first = start // _IN_WORD
        words = self.weights.read(name, (slice(0, self.weights.shape(name)[0]), slice(first, -(-stop // _IN_WORD))))
        ordered = unpack(words, _BITS).unflatten(-1, (-1, _IN_WORD))[..., _PLACES].flatten(-2)
        return ordered[:, start - first * _IN_WORD : stop - first * _IN_WORD].t()


def find_awq(weights: Weights, config: Mapping[str, Any]) -> dict[str, PackedTensor]:
    """Return the weights of the layers that are stored as `qweight`, `qzeros` and `scales`."""
    layers = [name.removesuffix(".qweight") for name in weights.names() if name.endswith(".qweight")]
    if not layers:
        return {}
    version = config.get("version") or config.get("format") or "gemm"
    if not isinstance(version, str) or version.lower() != "gemm":
        raise BuildError(f"quantization config: version: {version!r:.60} is not supported; supported is gemm")
    if config.get("zero_point") is False:
        raise BuildError("quantization config: zero_point: false is not supported; supported is true")
    read_number(config, ("bits", "w_bit"), (_BITS,))
    size = read_number(config, ("group_size", "q_group_size"))
    found: dict[str, PackedTensor] = {}
    for layer in layers:
        qweight, qzeros, scales = (layer + end for end in _ENDS)
        stored = tuple(weights.shape(qweight))
        if len(stored) != 2 or weights.dtype(qweight) != "I32":
            raise BuildError(f"tensor '{clipped(qweight)}' {list(stored)}: expected packed integers in int32")
        columns, rows = stored[0], stored[1] * _IN_WORD
        group = columns if size == -1 else size
        if group is None or group < 1 or columns % group:
            raise BuildError(
                f"quantization config: group_size: expected a divisor of {columns}, the inputs of "
                f"'{clipped(layer)}.weight', or -1, got {size}"
            )
        expect_shape(weights, scales, (columns // group, rows), f"{layer}.weight")
        expect_shape(weights, qzeros, (columns // group, stored[1]), f"{layer}.weight")
        found[f"{layer}.weight"] = AwqWeight(weights, layer, (rows, columns), group)
    return found
